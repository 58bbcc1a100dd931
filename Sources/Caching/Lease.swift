import Diagnostics
import Digests
import Glibc
import SystemPackage

extension Store {
  /// A flock, released when the value goes, and by the kernel when the process does.
  package final class Hold: Sendable {
    let file: FileDescriptor

    init(_ file: FileDescriptor) { self.file = file }

    deinit { try? file.close() }
  }

  /// Held by a build for its life: while anyone has one, nothing is removed from the store.
  ///
  /// Waits for a gc that is running.
  package func lease() async throws -> Hold {
    try await hold(base + "/gc.lock", LOCK_SH)
  }

  /// Held while an action executes: a second process waits here, then looks the key up again.
  ///
  /// Polls with a growing pause, at most 50 ms, since a thread of the cooperative pool must not block in flock.
  package func lock(_ key: Fingerprint) async throws -> Hold {
    try await hold(base + "/lock/" + key.description, LOCK_EX)
  }

  /// The lock on a key, or `nil` when another process or task has it.
  package func tryLock(_ key: Fingerprint) throws -> Hold? {
    try tryHold(base + "/lock/" + key.description, LOCK_EX)
  }

  func hold(_ path: String, _ mode: Int32) async throws -> Hold {
    var pause: Int64 = 1
    while true {
      if let hold = try tryHold(path, mode) { return hold }
      try await Task.sleep(for: .milliseconds(pause))
      pause = min(pause * 2, 50)
    }
  }

  func tryHold(_ path: String, _ mode: Int32) throws -> Hold? {
    let file = try Disk.open(path, O_RDWR | O_CREAT, mode: 0o644)
    while flock(file.rawValue, mode | LOCK_NB) != 0 {
      if errno == EINTR { continue }
      defer { try? file.close() }
      if errno == EWOULDBLOCK { return nil }
      throw Disk.failure("lock", path)
    }
    // gc removes lock files: a lock on one that has no name any more locks nobody out.
    guard try Disk.status(of: file, path: path).links > 0 else {
      try? file.close()
      return nil
    }
    return Hold(file)
  }

  /// Raised by every gc before it removes anything; a state log that was written under another one is not to be
  /// trusted.
  package var generation: Int {
    guard let bytes = try? Disk.contents(of: base + "/generation", limit: 32) else { return 0 }
    return Int(String(decoding: bytes, as: UTF8.self).filter { $0 != "\n" }) ?? 0
  }

  func raiseGeneration() throws {
    try replace(base + "/generation", with: Array("\(generation + 1)\n".utf8))
  }

  // MARK: What gc removed

  private var evictedPath: String { base + "/evicted.log" }

  struct Eviction: Sendable {
    /// Seconds since 1970.
    var time: Int64
    var policy: String
  }

  /// When and why gc removed a record, if it did so not too long ago.
  ///
  /// A first build misses thousands of times: the log is read again only when it is another one.
  func eviction(of key: Fingerprint) -> (time: Int64, policy: String)? {
    guard let changed = try? Disk.status(evictedPath)?.changed else { return nil }
    return evictions.withLock { state in
      if state.changed != changed { state = (changed, readEvictions()) }
      return state.known[key].map { ($0.time, $0.policy) }
    }
  }

  private func readEvictions() -> [Fingerprint: Eviction] {
    guard let bytes = try? Disk.contents(of: evictedPath, limit: 4 << 20) else { return [:] }
    var known: [Fingerprint: Eviction] = [:]
    for line in bytes.split(separator: UInt8(ascii: "\n")) {
      let fields = line.split(separator: UInt8(ascii: " ")).map { String(decoding: $0, as: UTF8.self) }
      guard fields.count == 3, let time = Int64(fields[0]), let key = Fingerprint(hex: fields[1]) else { continue }
      known[key] = Eviction(time: time, policy: fields[2])
    }
    return known
  }

  /// Adds lines `seconds key policy`, and forgets the older half once there is more than a megabyte.
  func logEvictions(_ keys: [(Fingerprint, policy: String)], at seconds: Int64) throws {
    var bytes = (try? Disk.contents(of: evictedPath, limit: 4 << 20)) ?? []
    for (key, policy) in keys { bytes += "\(seconds) \(key) \(policy)\n".utf8 }
    if bytes.count > 1 << 20 {
      let half = bytes.count - (512 << 10)
      let start = bytes[half...].firstIndex(of: UInt8(ascii: "\n")).map { $0 + 1 } ?? half
      bytes.removeFirst(start)
    }
    try replace(evictedPath, with: bytes)
  }
}
