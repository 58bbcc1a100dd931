import Glibc
import SystemPackage

/// A workspace in a folder of its own, with a cache of its own; removed when the test is over.
///
/// `//base:image` is an image with a static busybox, so that shell actions run in milliseconds.
final class Project {
  /// Holds the workspace, the cache and HOME.
  let folder: String
  /// The workspace.
  let root: String
  /// `$XDG_CACHE_HOME`; may be another project's.
  var cache: String
  /// Words before the command: who runs it, and in what namespaces.
  var prefix: [String] = []
  private var goldenText = ""

  init(_ name: String = "work", cache: String? = nil) throws {
    folder = try Self.makeFolder()
    root = "\(folder)/\(name)"
    self.cache = cache ?? "\(folder)/cache"
    try makeFolders("")
    for path in ["\(folder)/cache", "\(folder)/home"] { mkdir(path, 0o755) }
    guard access("/bin/busybox", X_OK) == 0 else {
      throw Failure("`/bin/busybox` is missing: apt-get install busybox-static")
    }
    try write("slipway.yaml", "slipway: 1\nname: demo\n")
    try copy("/bin/busybox", to: "base/bin/busybox", mode: 0o755)
    for applet in Self.applets { try link("base/bin/\(applet)", to: "busybox") }
    try write(
      "base/targets.yaml",
      """
      targets:
        root: {rule: files, srcs: ["bin/**"]}
        image: {rule: image, layers: [{from: ":root", to: /}], config: {env: {PATH: /bin}}}
      default: image

      """)
  }

  deinit {
    let remove = try? HostProcess(
      ["/bin/sh", "-c", "chmod -R u+rwX \"$0\"; rm -rf \"$0\"", folder], directory: "/",
      environment: ["PATH": "/usr/bin:/bin"])
    _ = remove?.wait()
  }

  private static let applets = [
    "sh", "cat", "ls", "echo", "sleep", "dd", "env", "id", "mkdir", "mkfifo", "ln", "touch", "head", "wc", "tr", "test",
    "stat", "rm", "mv", "seq", "grep", "find", "readlink", "chmod", "setsid", "pwd", "ip", "cp", "sort", "usleep",
    "wget", "yes", "sha256sum", "sed", "printf", "true", "false",
  ]

  private static func makeFolder() throws -> String {
    var template = Array("/tmp/slipway-e2e-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw Failure("mkdtemp: error \(errno)") }
    let path = String(decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
    chmod(path, 0o755)
    return path
  }

  // MARK: Files

  func path(_ relative: String) -> String { relative.isEmpty ? root : "\(root)/\(relative)" }

  func write(_ relative: String, _ text: String, mode: mode_t = 0o644) throws {
    try write(relative, Array(text.utf8), mode: mode)
  }

  func write(_ relative: String, _ bytes: [UInt8], mode: mode_t = 0o644) throws {
    try makeFolders(Self.parent(of: relative))
    let file = try FileDescriptor.open(
      FilePath(path(relative)), .writeOnly, options: [.create, .truncate, .closeOnExec],
      permissions: FilePermissions(rawValue: mode))
    defer { try? file.close() }
    _ = try file.writeAll(bytes)
  }

  func copy(_ source: String, to relative: String, mode: mode_t) throws {
    try write(relative, try readBytes(source), mode: mode)
  }

  func link(_ relative: String, to target: String) throws {
    try makeFolders(Self.parent(of: relative))
    unlink(path(relative))
    guard symlink(target, path(relative)) == 0 else { throw Failure("symlink \(relative): error \(errno)") }
  }

  func remove(_ relative: String) { unlink(path(relative)) }

  func read(_ relative: String) throws -> String { String(decoding: try readBytes(path(relative)), as: UTF8.self) }

  func exists(_ relative: String) -> Bool { access(path(relative), F_OK) == 0 }

  private func makeFolders(_ relative: String) throws {
    var current = folder
    for part in path(relative).dropFirst(folder.count).split(separator: "/") {
      current += "/" + part
      guard mkdir(current, 0o755) == 0 || errno == EEXIST else { throw Failure("mkdir \(current): error \(errno)") }
    }
  }

  private static func parent(of path: String) -> String {
    path.split(separator: "/").dropLast().joined(separator: "/")
  }

  /// A package `app` with these targets, one a line of YAML.
  func app(_ targets: String...) throws {
    try write("app/targets.yaml", "targets:\n" + targets.map { "  \($0)\n" }.joined())
  }

  // MARK: Commands

  /// The executable that was built together with these tests, or another build of it that the environment names.
  static let executable: String = {
    if let named = getenv("SLIPWAY_TEST_EXECUTABLE") { return String(cString: named) }
    var buffer = [UInt8](repeating: 0, count: 4096)
    let count = readlink("/proc/self/exe", &buffer, buffer.count)
    let test = String(decoding: buffer.prefix(max(count, 0)), as: UTF8.self)
    return test.split(separator: "/", omittingEmptySubsequences: false).dropLast().joined(separator: "/") + "/slipway"
  }()

  func start(
    _ arguments: [String], environment: [String: String] = [:], input: String? = nil
  ) throws -> HostProcess {
    var all = [
      "XDG_CACHE_HOME": cache, "HOME": "\(folder)/home", "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
      // Other tests may take every processor for longer than a second.
      "SLIPWAY_REMOTE_CACHE_TIMEOUT": "20s",
    ]
    all.merge(environment) { $1 }
    return try HostProcess(prefix + [Self.executable] + arguments, directory: root, environment: all, input: input)
  }

  @discardableResult
  func run(
    _ arguments: String..., environment: [String: String] = [:], input: String? = nil
  ) throws -> HostProcess.Finished {
    try start(arguments, environment: environment, input: input).finish()
  }

  /// Runs `build` with `--events`; gives its events and end.
  @discardableResult
  func build(_ patterns: String..., options: [String] = [], command: String = "build") throws -> BuildResult {
    try build(patterns, options: options, command: command)
  }

  func build(
    _ patterns: [String], options: [String], command: String = "build", environment: [String: String] = [:]
  ) throws -> BuildResult {
    let events = "\(folder)/events-\(eventFiles).jsonl"
    eventFiles += 1
    let finished = try start(
      [command, "--events", events] + options + ["--"] + patterns, environment: environment
    ).finish()
    return BuildResult(finished: finished, events: try Events(path: events))
  }

  private var eventFiles = 0

  /// Where `outputs` put a target's outputs, by name; builds nothing.
  func outputs(_ label: String) throws -> [String: String] {
    let result = try run("outputs", label)
    guard result.status == 0 else { throw Failure("outputs \(label): \(result.standardError)") }
    var found: [String: String] = [:]
    for line in result.standardOutput.split(separator: "\n") {
      let parts = line.split(separator: "\t", maxSplits: 1)
      if parts.count == 2 { found[String(parts[0])] = String(parts[1]) }
    }
    return found
  }

  /// The text of a target's only output.
  func output(_ label: String) throws -> String {
    guard let path = try outputs(label).values.first else { throw Failure("\(label) has no output") }
    return try read(path)
  }

  // MARK: Goldens

  /// Runs a command and notes what it printed for the golden file.
  @discardableResult
  func note(_ arguments: String..., environment: [String: String] = [:]) throws -> Int32 {
    try note(arguments, environment: environment)
  }

  /// As `note`, with words for what else differs from run to run.
  @discardableResult
  func note(_ arguments: [String], environment: [String: String] = [:], replacing words: [String: String] = [:]) throws
    -> Int32
  {
    let result = try start(arguments, environment: environment).finish()
    var text = "$ slipway \(arguments.joined(separator: " "))\n"
    if !result.standardOutput.isEmpty { text += "[stdout]\n" + Golden.lines(result.standardOutput) }
    if !result.standardError.isEmpty { text += "[stderr]\n" + Golden.lines(result.standardError) }
    text += "[exit] \(result.status)\n\n"
    let names = words.merging([root: "[PATH]", cache: "[CACHE]"]) { $1 }
    goldenText += Golden.filter(text, paths: names)
    return result.status
  }

  /// Notes a change that the test made between two commands.
  func note(change: String) { goldenText += "# \(change)\n\n" }

  /// Compares what was noted with the golden file.
  func expectGolden(_ name: String) throws { try Golden.compare(goldenText, with: name) }
}

func readBytes(_ path: String) throws -> [UInt8] {
  do {
    let file = try FileDescriptor.open(FilePath(path), .readOnly, options: .closeOnExec)
    defer { try? file.close() }
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 262_144)
    while true {
      let count = try buffer.withUnsafeMutableBytes { try file.read(into: $0) }
      if count == 0 { return bytes }
      bytes += buffer.prefix(count)
    }
  } catch { throw Failure("cannot read \(path): \(error)") }
}
