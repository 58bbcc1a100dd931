import CSandbox
import Diagnostics

extension SandboxSpec {
  /// Refuses what the helper could not carry or would misunderstand.
  func validate() throws {
    func refuse(_ message: String) -> Diagnostic { .error("cannot run a sandbox: \(message)", cause: .internal) }
    guard !arguments.isEmpty else { throw refuse("it has no command") }
    var strings = layers + arguments + environment + outputs + mounts.flatMap { [$0.source, $0.target] }
    strings += [workingDirectory, hostname]
    if case .folder(let folder) = scratch { strings.append(folder) }
    for string in strings where string.utf8.contains(0) { throw refuse("`\(string)` holds a zero byte") }
    for path in outputs + mounts.map(\.target) + [workingDirectory] where !path.hasPrefix("/") {
      throw refuse("`\(path)` is not an absolute path")
    }
    guard hostname.utf8.count <= 64 else { throw refuse("the host name is longer than 64 bytes") }
    guard limits.processes > 0, limits.fileSize >= 0, limits.scratch >= 0, limits.memory ?? 0 >= 0,
      limits.totalMemory ?? 0 >= 0
    else {
      throw refuse("a limit is negative")
    }
  }

  /// The form that `CSandbox/request.c` reads.
  func serialised(for runtime: OCIRuntime? = nil) -> [UInt8] {
    var bytes: [UInt8] = []
    func append<T: FixedWidthInteger>(_ value: T) {
      withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
    }
    func append(_ string: String) {
      append(UInt32(string.utf8.count))
      bytes.append(contentsOf: string.utf8)
      bytes.append(0)
    }
    func append(_ list: [String]) {
      append(UInt32(list.count))
      for string in list { append(string) }
    }
    var flags: UInt32 = 0
    var folder = ""
    if network == .host { flags |= SLIPWAY_SANDBOX_NETWORK_HOST }
    if interactive { flags |= SLIPWAY_SANDBOX_INTERACTIVE }
    if runtime != nil { flags |= SLIPWAY_SANDBOX_RUNTIME }
    if case .folder(let path) = scratch {
      flags |= SLIPWAY_SANDBOX_SCRATCH_FOLDER
      folder = path
    }
    // A year is for ever; more would not fit the clock in nanoseconds.
    let milliseconds = limits.wallClock.isNaN ? 0 : max(0, min(limits.wallClock, 31_536_000)) * 1000
    append(flags)
    append(UInt64(limits.processes))
    append(UInt64(limits.memory ?? 0))
    append(UInt64(limits.fileSize))
    append(UInt64(limits.scratch))
    append(UInt64(milliseconds))
    append(UInt64(limits.totalMemory ?? 0))
    append(folder)
    append(hostname)
    append(workingDirectory)
    append(runtime?.path ?? "")
    append(runtime?.configuration(for: self) ?? "")
    append(layers)
    append(mounts.map(\.source))
    append(mounts.map(\.target))
    append(mounts.map(\.access.rawValue))
    append(arguments)
    append(environment)
    append(outputs)
    return bytes
  }
}
