import CSandbox
import Diagnostics
import Glibc
import Synchronization
import SystemPackage

/// The helper process, its control socket, and who waits for its answers.
final class Helper: Sendable {
  typealias Answer = CheckedContinuation<SandboxResult, any Error>

  private struct Waiting {
    var answer: Answer
    var outputs: [FileDescriptor?]
  }

  private struct State {
    var waiting: [UInt64: Waiting] = [:]
    /// Cancelled before they were sent: a task may be cancelled at any moment.
    var cancelled: Set<UInt64> = []
    var next: UInt64 = 1
    var isAlive = true
  }

  private let socket: Int32
  let process: pid_t
  private let state = Mutex(State())
  private let null: Int32

  init(executable: String) throws {
    null = open("/dev/null", O_RDWR | O_CLOEXEC)
    guard null >= 0 else { throw Diagnostic.system("cannot open `/dev/null`", errno) }
    var process: pid_t = 0
    socket = slipway_sandbox_start(executable, &process)
    self.process = process
    guard socket >= 0 else {
      let error = errno
      close(null)
      throw Diagnostic.system("cannot start the sandbox helper `\(executable)`", error)
    }
    // A thread of its own, for it waits in a system call; it keeps this object until the helper is gone.
    var thread = pthread_t()
    let context = Unmanaged.passRetained(self)
    let status = pthread_create(
      &thread, nil,
      { context in
        guard let context else { return nil }
        Unmanaged<Helper>.fromOpaque(context).takeRetainedValue().receiveAll()
        return nil
      }, context.toOpaque())
    guard status == 0 else {
      context.release()
      throw Diagnostic.system("cannot start a thread for the sandbox helper", status)
    }
    pthread_detach(thread)
  }

  deinit {
    if socket >= 0 { close(socket) }
    close(null)
  }

  var isAlive: Bool { state.withLock { $0.isAlive } }

  func nextIdentifier() -> UInt64 {
    state.withLock { state in
      defer { state.next += 1 }
      return state.next
    }
  }

  func send(_ spec: SandboxSpec, for runtime: OCIRuntime? = nil, id: UInt64, _ answer: Answer) {
    enum Admission { case sent, cancelled, dead }
    let outputs = [FileDescriptor?](repeating: nil, count: spec.outputs.count)
    let admission = state.withLock { state -> Admission in
      if state.cancelled.remove(id) != nil { return .cancelled }
      if !state.isAlive { return .dead }
      state.waiting[id] = Waiting(answer: answer, outputs: outputs)
      return .sent
    }
    switch admission {
    case .cancelled: return answer.resume(returning: .cancelled(outputs: outputs.count))
    case .dead: return answer.resume(throwing: Self.gone)
    case .sent: break
    }
    let body = spec.serialised(for: runtime)
    let sent = body.withUnsafeBytes { bytes in
      slipway_sandbox_request(
        socket, id, bytes.baseAddress, bytes.count, spec.standardInput?.rawValue ?? null,
        spec.standardOutput?.rawValue ?? null, spec.standardError?.rawValue ?? null)
    }
    guard sent != 0 else {
      // Cancelled between the admission and the sending: the helper did not know the request then.
      if state.withLock({ $0.cancelled.remove(id) }) != nil { slipway_sandbox_cancel(socket, id) }
      return
    }
    let error = errno
    guard let waiting = state.withLock({ $0.waiting.removeValue(forKey: id) }) else { return }
    waiting.answer.resume(throwing: Diagnostic.system("cannot pass a request to the sandbox helper", error))
  }

  func cancel(_ id: UInt64) {
    let known = state.withLock { state in
      state.cancelled.insert(id)
      return state.waiting[id] != nil
    }
    if known { slipway_sandbox_cancel(socket, id) }
  }

  /// Ends the helper, and with it every sandbox.
  func shutDown() {
    shutdown(socket, Int32(SHUT_RDWR))
  }

  private func receiveAll() {
    var reply = slipway_sandbox_reply()
    while true {
      let received = slipway_sandbox_receive(socket, &reply)
      if received == 0 { break }
      if received < 0 {
        // What cannot be read any more is ended, so that nobody waits for ever.
        shutDown()
        break
      }
      take(&reply)
    }
    var status: Int32 = 0
    while waitpid(process, &status, 0) < 0 && errno == EINTR {}
    let waiting = state.withLock { state in
      state.isAlive = false
      defer { state.waiting = [:] }
      return state.waiting.sorted { $0.key < $1.key }.map(\.value)
    }
    for one in waiting {
      for case let output? in one.outputs { try? output.close() }
      one.answer.resume(throwing: Self.gone)
    }
  }

  private func take(_ reply: inout slipway_sandbox_reply) {
    let id = reply.id
    if reply.kind == SLIPWAY_SANDBOX_OUTPUTS.rawValue {
      let first = Int(reply.first)
      let count = Int(reply.count)
      let descriptors = withUnsafeBytes(of: &reply.fds) { Array($0.bindMemory(to: Int32.self).prefix(count)) }
      let isKnown = state.withLock { state -> Bool in
        guard let expected = state.waiting[id]?.outputs.count, first + count <= expected else { return false }
        for (offset, descriptor) in descriptors.enumerated() where descriptor >= 0 {
          state.waiting[id]?.outputs[first + offset] = FileDescriptor(rawValue: descriptor)
        }
        return true
      }
      if !isKnown { for descriptor in descriptors where descriptor >= 0 { close(descriptor) } }
      return
    }
    let ended = state.withLock { state in
      state.cancelled.remove(id)
      return state.waiting.removeValue(forKey: id)
    }
    guard let ended else { return }
    guard reply.kind == SLIPWAY_SANDBOX_FINISHED.rawValue else {
      for case let output? in ended.outputs { try? output.close() }
      let message = withUnsafeBytes(of: &reply.message) { bytes in
        String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
      }
      return ended.answer.resume(throwing: SandboxFailure(message: message, errno: reply.error).diagnostic)
    }
    let status: SandboxResult.Status =
      switch slipway_sandbox_status(rawValue: reply.status) {
      case SLIPWAY_SANDBOX_EXITED: .exited(reply.code)
      case SLIPWAY_SANDBOX_SIGNALED: .signaled(reply.code)
      case SLIPWAY_SANDBOX_TIMED_OUT: .timedOut
      default: .cancelled
      }
    var result = SandboxResult(
      status: status, outputs: ended.outputs, wallClock: Double(reply.wall_ns) / 1e9,
      cpuTime: Double(reply.cpu_us) / 1e6, peakMemory: Int(reply.peak_bytes))
    let both = SLIPWAY_SANDBOX_LIMITS_PROCESSES | SLIPWAY_SANDBOX_LIMITS_MEMORY
    result.isLimitedAsWhole = reply.limits & both == both
    result.ranOutOfMemory = reply.memory_kills > 0
    ended.answer.resume(returning: result)
  }

  private static let gone = Diagnostic.error(
    "the sandbox helper ended before its time", cause: .environment,
    hints: ["look for `slipway-sandbox` in the kernel log: it may have been killed for want of memory"])
}

extension Diagnostic {
  /// A failed system call: what was being done, and the system's word for why it could not be.
  static func system(_ message: String, _ error: Int32, hints: [String] = []) -> Diagnostic {
    .error("\(message): \(Errno(rawValue: error).description.lowercasedFirst)", cause: .environment, hints: hints)
  }
}

extension String {
  var lowercasedFirst: String { prefix(1).lowercased() + dropFirst() }
}
