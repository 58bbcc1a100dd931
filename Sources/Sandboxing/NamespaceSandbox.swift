import CSandbox
import Diagnostics
import Glibc
import Synchronization
import SystemPackage

/// Containers made by Slipway's own helper: one process a build, from which each action is cloned.
///
/// The helper starts with `prepare` or the first action, and dies with every sandbox when this object or this process does.
package final class NamespaceSandbox: Sandbox {
  private let state = Mutex(State())
  private let executable: String
  private let runtime: OCIRuntime?

  /// `executable` is a program that links `CSandbox`; by default the running one.
  package convenience init(executable: String = "/proc/self/exe") {
    self.init(executable: executable, runtime: nil)
  }

  init(executable: String, runtime: OCIRuntime?) {
    self.executable = executable
    self.runtime = runtime
  }

  deinit {
    state.withLock { $0.helper }?.shutDown()
  }

  /// The helper, while there is one.
  package var helperProcess: Int32? {
    state.withLock { state in state.helper.flatMap { $0.isAlive ? $0.process : nil } }
  }

  package func prepare() { _ = try? state.withLock { state in try state.runningHelper(executable) } }

  package func run(_ spec: SandboxSpec) async throws -> SandboxResult {
    if Task.isCancelled { return .cancelled(outputs: spec.outputs.count) }
    try spec.validate()
    let helper = try state.withLock { state in try state.runningHelper(executable) }
    let id = helper.nextIdentifier()
    let terminal = spec.interactive ? TerminalSettings(spec.standardInput) : nil
    defer { terminal?.restore() }
    return try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { continuation in
        helper.send(spec, for: runtime, id: id, continuation)
      }
    } onCancel: {
      helper.cancel(id)
    }
  }

  private struct State {
    var helper: Helper?

    mutating func runningHelper(_ executable: String) throws -> Helper {
      if let helper, helper.isAlive { return helper }
      let started = try Helper(executable: executable)
      helper = started
      return started
    }
  }
}

extension SandboxResult {
  static func cancelled(outputs: Int) -> SandboxResult {
    SandboxResult(status: .cancelled, outputs: Array(repeating: nil, count: outputs), wallClock: 0)
  }
}

/// The caller's terminal as it was, should a killed sandbox have left it raw.
private struct TerminalSettings {
  var descriptor: Int32
  var settings: termios

  init?(_ input: FileDescriptor?) {
    descriptor = input?.rawValue ?? 0
    settings = termios()
    if tcgetattr(descriptor, &settings) != 0 { return nil }
  }

  func restore() {
    var settings = settings
    _ = tcsetattr(descriptor, TCSADRAIN, &settings)
  }
}
