import SystemPackage
import Testing

#if canImport(Glibc)
  import Glibc
#endif

/// The scripts of the kinds, tested by Python's own unittest in `scripts/`.
///
/// They need what the base image has: Debian's python3 with packaging, installer, pip, setuptools, wheel, poetry-core.
struct ScriptTests {
  static let modules = "setuptools, wheel, packaging, installer, pip, poetry.core"

  @Test(.timeLimit(.minutes(5)), arguments: ["test_plan", "test_fetch", "test_site"])
  func `the scripts that bring Python packages hold their promises`(module: String) throws {
    let python = "/usr/bin/python3"
    let needed = try Self.run([python, "-c", "import \(Self.modules)"])
    try #require(
      needed.status == 0,
      "install python3-packaging python3-installer python3-pip python3-poetry-core: \(needed.output)")

    let scripts = #filePath.split(separator: "/").dropLast().reduce("") { "\($0)/\($1)" } + "/scripts"
    let result = try Self.run(
      [python, "-m", "unittest", "discover", "-s", scripts, "-p", "\(module).py"],
      environment: ["SLIPWAY_KIND_SCRIPTS=\(BuiltInKindsTests.folder)/python", "PYTHONDONTWRITEBYTECODE=1"])
    #expect(result.status == 0, "\(result.output)")
    #expect(!result.output.contains("Ran 0 tests"))
  }

  /// Runs a program to its end; its exit status, and what it wrote to both streams.
  private static func run(
    _ arguments: [String], environment: [String] = []
  ) throws -> (status: Int32, output: String) {
    let pipe = try FileDescriptor.pipe()
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_adddup2(&actions, pipe.writeEnd.rawValue, 1)
    posix_spawn_file_actions_adddup2(&actions, pipe.writeEnd.rawValue, 2)
    posix_spawn_file_actions_addclose(&actions, pipe.readEnd.rawValue)

    let words = arguments.map { strdup($0) } + [nil]
    let variables = (environment + ["PATH=/usr/bin:/bin", "LC_ALL=C.UTF-8"]).map { strdup($0) } + [nil]
    defer { (words + variables).forEach { free($0) } }
    var process = pid_t()
    let failure = posix_spawn(&process, arguments[0], &actions, nil, words, variables)
    try pipe.writeEnd.close()
    defer { try? pipe.readEnd.close() }
    if failure != 0 { throw Errno(rawValue: failure) }

    var output: [UInt8] = []
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 65_536, alignment: 1)
    defer { buffer.deallocate() }
    while case let count = try pipe.readEnd.read(into: buffer), count > 0 { output += buffer[..<count] }
    var status: Int32 = 0
    while waitpid(process, &status, 0) == -1, errno == EINTR {}
    let exited = status & 0x7f == 0
    return (exited ? status >> 8 & 0xff : 128 + (status & 0x7f), String(decoding: output, as: UTF8.self))
  }
}
