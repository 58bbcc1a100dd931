import Glibc
import SeededRandom
import SystemPackage

/// A repository of small connectors that changes in every way that a repository can.
///
/// The workspace is the folder `work` of the repository, beside files that are none of its business.
final class GeneratedHistory {
  let top: String
  var root: String { top + "/repository/work" }
  private var random: SeededGenerator
  /// Connectors that are there, by the number in their names.
  private var connectors: [Int] = []
  private var nextConnector = 0
  private var count = 0

  init(seed: UInt64) throws {
    random = SeededGenerator(seed: seed)
    top = try Self.folder()
    try shell("mkdir -p repository/work && git init -q -b main repository")
    try git("config user.name t && git config user.email t@example.org && git config commit.gpgsign false")
    try write("slipway.yaml", "slipway: 1\nname: history\nkinds: [kinds/*.yaml]\nignore: ['**/secrets/**']\n")
    try write(".gitignore", "*.tmp\n")
    try write("base/targets.yaml", Self.base("sh"))
    try write("base/bin/sh", "#!sh\n")
    for name in ["one", "two"] {
      try write("libs/\(name)/targets.yaml", "targets:\n  lib: {rule: files, srcs: ['**/*.py']}\n")
      try write("libs/\(name)/lib.py", "lib\n")
    }
    try write("kinds/plain.yaml", Self.kind(""))
    for _ in 0..<6 { try addConnector() }
    try commit()
  }

  /// A new one, of its own.
  static func folder() throws -> String {
    var template = Array("/tmp/slipway-history-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw GeneratorFailure("mkdtemp") }
    return String(decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
  }

  deinit { _ = try? shell("rm -rf '\(top)'", in: "/") }

  private static func base(_ word: String) -> String {
    "targets:\n  root: {rule: files, srcs: ['bin/**']}\n"
      + "  image: {rule: image, layers: [{from: ':root', to: /bin}], config: {entrypoint: [\(word)]}}\n"
  }

  private static func kind(_ more: String) -> String {
    """
    kind: plain
    match: {all: [main.py]}
    targets:
      code: {rule: files, srcs: [main.py, "src/**?"]}
      image: {rule: image, base: //base:image, layers: [{from: ":code", to: /app}],
        config: {labels: {version: "${data.dockerImageTag}"}}}
      unit: {rule: test, image: ":image", inputs: ["unit_tests/**?"], run: [sh, -c, "true \(more)"]}
      spec: {rule: test, image: ":image", run: [cat, /app/main.py]}
      test: {rule: suite, tests: [":unit", ":spec", ":extra?"]}
      publish: {rule: publish, image: ":image", metadata: "${data}"}

    """
  }

  private func addConnector() throws {
    let number = nextConnector
    nextConnector += 1
    connectors.append(number)
    let folder = "connectors/source-c\(number)"
    try write("\(folder)/metadata.yaml", metadata(number, tag: "0.1.0", description: "first"))
    try write("\(folder)/main.py", "main \(number)\n")
    try write("\(folder)/README.md", "about\n")
    if random.chance(60) { try write("\(folder)/src/a.py", "a\n") }
    if random.chance(50) { try write("\(folder)/unit_tests/test_a.py", "test\n") }
    if random.chance(40) { try addTargets(folder) }
  }

  private func metadata(_ number: Int, tag: String, description: String) -> String {
    """
    metadataSpecVersion: "1.0"
    data:
      name: C\(number)
      definitionId: 00000000-0000-4000-a000-\(String(100_000_000_000 + number))
      connectorType: source
      connectorSubtype: api
      dockerRepository: airbyte/source-c\(number)
      dockerImageTag: \(tag)
      documentationUrl: https://docs.example.com/\(description)
      githubIssueLabel: source-c\(number)
      license: MIT
      releaseStage: alpha
      supportLevel: community
      tags: [language:python]

    """
  }

  private func addTargets(_ folder: String) throws {
    let other = Bool.random(using: &random) ? "one" : "two"
    let neighbour =
      connectors.randomElement(using: &random).map { "//connectors/source-c\($0):code" } ?? "//libs/one:lib"
    let choices = [
      "targets:\n  extra: {rule: test, image: ':image', inputs: ['//libs/\(other):lib'], run: ['true']}\n",
      "targets:\n  unit: {+inputs: ['//libs/\(other):lib']}\n",
      "targets:\n  extra: {rule: action, image: //base:image, inputs: ['\(neighbour)'], outputs: {o: o}, run: ['true']}\n"
        + "  test: {tests: [':unit']}\n",
      "targets:\n  unit: {timeout: \(Int.random(in: 1..<9, using: &random))m, needs: [':spec']}\n",
      "targets:\n  publish: null\n",
    ]
    try write("\(folder)/targets.yaml", choices.randomElement(using: &random) ?? choices[0])
  }

  /// Changes something; gives its name.
  func change() throws -> String {
    count += 1
    guard let number = connectors.randomElement(using: &random) else {
      try addConnector()
      return "add"
    }
    let folder = "connectors/source-c\(number)"
    let text = "text \(Int.random(in: 0..<1000, using: &random))\n"
    switch Int.random(in: 0..<34, using: &random) {
    case 0: try write("\(folder)/main.py", text)
    case 1: try write("\(folder)/README.md", text)
    case 2:
      try shell("printf '# \(count)\\n' >>'\(folder)/metadata.yaml'", in: root)
      return "comment"
    case 3: try write("\(folder)/metadata.yaml", metadata(number, tag: "0.1.0", description: "d\(count)"))
    case 4: try write("\(folder)/metadata.yaml", metadata(number, tag: "0.\(count).0", description: "first"))
    case 5: try addConnector()
    case 6 where connectors.count > 4:
      try shell("rm -rf '\(folder)'", in: root)
      connectors.removeAll { $0 == number }
      // Whoever named it is mended as well.
      try shell("grep -l 'source-c\(number):' connectors/*/targets.yaml | xargs -r rm", in: root)
      return "remove"
    case 7: try shell("mkdir -p '\(folder)/src'; mv '\(folder)/README.md' '\(folder)/src/moved.md'; true", in: root)
    case 8: try shell("chmod \(Bool.random(using: &random) ? "755" : "644") '\(folder)/main.py'", in: root)
    case 9: try shell("mkdir -p '\(folder)/src' && ln -sfn '../\(count % 3)' '\(folder)/src/link'", in: root)
    case 10:
      try shell(
        "mkdir -p '\(folder)/src' && rm -rf '\(folder)/src/link' && echo \(count) >'\(folder)/src/link'", in: root)
    case 11: try write("kinds/plain.yaml", Self.kind("\(count % 5)"))
    case 12: try write("base/bin/sh", "#!\(count)\n")
    case 13: try write("base/targets.yaml", Self.base("sh\(count % 4)"))
    case 14: try write("libs/\(Bool.random(using: &random) ? "one" : "two")/lib.py", text)
    case 15: try write("libs/one/more/\(count % 3).py", text)
    case 16:
      let ignore = ["'**/secrets/**'", "'**/secrets/**', '**/*.md'", "'**/secrets/**', 'libs/one/more/**'"]
      try write(
        "slipway.yaml",
        "slipway: 1\nname: history\nkinds: [kinds/*.yaml]\nignore: [\(ignore[count % 3])]\n"
          + (count % 2 == 0 ? "defaults: {test: {timeout: \(count)s}}\n" : ""))
    case 17: try addTargets(folder)
    case 18: unlink("\(root)/\(folder)/targets.yaml")
    case 19: try write("\(folder)/secrets/config.json", text)
    case 20: try write("\(folder)/src/x.tmp", text)
    case 21: try write("\(folder)/src/deep/er/file \(count % 4) ü.py", text)
    case 22:
      try shell("rm -f '\(folder)/src/a.py'; mkdir -p '\(folder)/src/a.py'; echo x >'\(folder)/src/a.py/b'", in: root)
    case 23: try shell("rm -rf '\(folder)/src'", in: root)
    case 24: try write("\(folder)/src/empty.py", "")
    case 25:
      try shell("for f in '\(folder)'/src/*.py; do [ -f \"$f\" ] && mv \"$f\" \"${f%.py}_R.py\"; done; true", in: root)
    case 26: try shell("mv '\(folder)/src' '\(folder)/SRC' 2>/dev/null; true", in: root)
    case 27: try shell("echo \(count) >../outside.txt", in: root)
    case 28: try write("docs/integrations/sources/c\(number).md", text)
    case 29: try write("\(folder)/icon.svg", "<svg>\(count)</svg>")
    case 30: try submodule(folder)
    case 31:
      try write(
        "connectors/nested/source-n\(count % 2)/targets.yaml", "targets:\n  n: {rule: files, srcs: ['*.txt?']}\n")
    case 32: try shell("git -C .. rm -rq --cached --ignore-unmatch 'work/\(folder)/README.md'", in: root)
    default: try shell("printf x >>'\(folder)/unit_tests/test_a.py'", in: root, mayFail: true)
    }
    return "change \(count)"
  }

  /// A repository in a connector's folder: added, or moved on.
  private func submodule(_ folder: String) throws {
    try shell(
      """
      mkdir -p '\(folder)/src' && cd '\(folder)/src' && [ -d sub ] || git init -q sub
      cd '\(root)/\(folder)/src/sub' && echo \(count) >f && git add f &&
      git -c user.name=t -c user.email=t@example.org -c commit.gpgsign=false commit -qm s &&
      cd .. && { git ls-files -s sub | grep -q ^160000 || git add sub 2>/dev/null; }
      """, in: root)
  }

  func commit() throws {
    try git("add -A 2>/dev/null && git commit -q --allow-empty -m \(count)")
  }

  private func write(_ path: String, _ text: String) throws {
    let full = FilePath("\(root)/\(path)")
    try shell("mkdir -p '\(full.removingLastComponent())'", in: "/")
    let file = try FileDescriptor.open(full, .writeOnly, options: [.create, .truncate], permissions: [.ownerReadWrite])
    _ = try file.closeAfter { try file.writeAll(Array(text.utf8)) }
  }

  func git(_ command: String) throws { try shell("git \(command)", in: top + "/repository") }

  func shell(_ command: String, in folder: String? = nil, mayFail: Bool = false) throws {
    try Self.shell(command, in: folder ?? top, mayFail: mayFail)
  }

  static func shell(_ command: String, in folder: String, mayFail: Bool = false) throws {
    let line = ["bash", "-c", "cd '\(folder)' && { \(command)\n}\(mayFail ? " 2>/dev/null" : "")"]
    let words: [UnsafeMutablePointer<CChar>?] = line.map { strdup($0) } + [nil]
    defer { for word in words { free(word) } }
    var process: pid_t = 0
    guard posix_spawn(&process, "/bin/bash", nil, nil, words, environ) == 0 else { throw GeneratorFailure(command) }
    var status: Int32 = 0
    while waitpid(process, &status, 0) < 0, errno == EINTR {}
    if status != 0, !mayFail { throw GeneratorFailure("\(command): \(status)") }
  }
}

struct GeneratorFailure: Error, CustomStringConvertible {
  var description: String
  init(_ description: String) { self.description = description }
}
