/// What a command needs on engines that start a container of an image and put the input root beside it, at a place of
/// their own: a script that brings inputs to their places, runs the command there, and brings outputs back.
///
/// It needs of the image `sh`, `cp`, `mkdir` and `rm`, and of the engine that the container's root can be written.
/// Paths in here are relative to the folder in which the engine starts it.
struct ContainerLaunch {
  static let path = "slipway/launch"
  static let inputs = "slipway/inputs"
  static let outputs = "slipway/outputs"
  /// A file that is there once all inputs are: what ends before is no verdict.
  static let mark = "slipway/begun"

  var arguments: [String]
  /// Absolute, in the image.
  var workingDirectory: String
  /// Absolute, in the image.
  var inputs: [String]
  /// Relative to the working directory.
  var outputs: [String]

  var outputPaths: [String] {
    ([Self.mark] + outputs.map { Self.outputs + "/" + $0 }).sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
  }

  var script: String {
    var lines = ["umask 022", "root=$PWD", "fail() { rm -f \"$root/\(Self.mark)\"; exit 125; }"]
    // As where the image lies below the inputs: a link or a file of its own gives way to a folder, and what is there to
    // an input.
    for some in Self.chunks(Set(inputs.flatMap(Self.folders(above:))).sorted()) {
      lines.append("for folder in \(some); do")
      lines.append("  [ -d \"$folder\" ] && [ ! -L \"$folder\" ] || rm -f -- \"$folder\" || fail")
      lines.append("done")
    }
    for some in Self.chunks(inputs) { lines.append("rm -rf -- \(some) || fail") }
    if !inputs.isEmpty { lines.append("cp -RP \(Self.inputs)/. / || fail") }
    let folder = Self.quoted(workingDirectory)
    lines += [
      "mkdir -p -- \(folder) && cd -- \(folder) || fail",
      ": >\"$root/\(Self.mark)\" || fail",
      // What a shell adds to the environment is not the command's.
      "(unset PWD OLDPWD SHLVL _; exec \(arguments.map(Self.quoted).joined(separator: " ")))",
      "code=$?",
    ]
    for output in outputs {
      let from = Self.quoted(output)
      let to = Self.outputs + "/" + output
      let folder = to[..<(to.lastIndex(of: "/") ?? to.startIndex)]
      lines += [
        "if [ -e \(from) ] || [ -L \(from) ]; then",
        "  mkdir -p -- \"$root\"/\(Self.quoted(String(folder))) || fail",
        "  cp -RP -- \(from) \"$root\"/\(Self.quoted(to)) || fail",
        "fi",
      ]
    }
    lines.append("exit $code")
    return lines.joined(separator: "\n") + "\n"
  }

  /// A list of arguments is bounded, and a command may have thousands of inputs.
  private static func chunks(_ paths: [String]) -> [String] {
    stride(from: 0, to: paths.count, by: 500).map { start in
      paths[start..<min(start + 500, paths.count)].map(quoted).joined(separator: " ")
    }
  }

  private static func folders(above path: String) -> [String] {
    let names = path.split(separator: "/").dropLast()
    return names.indices.map { "/" + names[...$0].joined(separator: "/") }
  }

  private static func quoted(_ text: String) -> String {
    "'" + text.split(separator: "'", omittingEmptySubsequences: false).joined(separator: "'\\''") + "'"
  }
}
