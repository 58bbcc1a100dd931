import Digests
import Glibc
import SystemPackage
import Testing

@testable import Caching

@Suite struct LeaseTests {
  let scratch: Scratch
  let store: Store
  let key = Fingerprint(of: "key")

  init() throws {
    scratch = try Scratch()
    store = try scratch.store()
  }

  /// Another process that locks a file of the store until it is told to end, or dies.
  struct Locker {
    let process: pid_t
    private let input: FileDescriptor

    /// `mode` is `-s` for shared or `-x` for exclusive; the lock is held when this returns.
    init(_ path: String, _ mode: String) throws {
      let (toRead, toWrite) = try FileDescriptor.pipe()
      let (answer, saying) = try FileDescriptor.pipe()
      // SIGPIPE and inherited descriptors: only the child's own ends may stay open in it.
      for fd in [toWrite, answer] { _ = fcntl(fd.rawValue, F_SETFD, FD_CLOEXEC) }
      var actions = posix_spawn_file_actions_t()
      posix_spawn_file_actions_init(&actions)
      defer { posix_spawn_file_actions_destroy(&actions) }
      posix_spawn_file_actions_adddup2(&actions, toRead.rawValue, 0)
      posix_spawn_file_actions_adddup2(&actions, saying.rawValue, 1)
      let script = "exec 9<>\"$0\"; flock \(mode) 9; echo held; read line"
      let arguments = ["/bin/sh", "-c", script, path].map { (text: String) in strdup(text) } + [nil]
      defer { for argument in arguments { free(argument) } }
      var child: pid_t = 0
      let code = posix_spawn(&child, "/bin/sh", &actions, nil, arguments, environ)
      try toRead.close()
      try saying.close()
      defer { try? answer.close() }
      guard code == 0 else { throw Errno(rawValue: code) }
      process = child
      input = toWrite
      var byte: [UInt8] = [0]
      let count = try byte.withUnsafeMutableBytes { try answer.read(into: $0) }
      try #require(count == 1 && byte == [UInt8(ascii: "h")], "`flock` of util-linux is missing: install util-linux")
    }

    func kill() {
      Glibc.kill(process, SIGKILL)
      var status: Int32 = 0
      waitpid(process, &status, 0)
      try? input.close()
    }
  }

  @Test func `one key is locked once, another is free, and an end frees it`() async throws {
    let other = try scratch.store()
    do {
      let hold = try await store.lock(key)
      #expect(try other.tryLock(key) == nil)
      #expect(try store.tryLock(key) == nil)
      #expect(try other.tryLock(Fingerprint(of: "another")) != nil)
      withExtendedLifetime(hold) {}
    }
    #expect(try other.tryLock(key) != nil)
  }

  @Test func `who waits for a key gets it when its holder ends`() async throws {
    let other = try scratch.store()
    let key = key
    var hold: Store.Hold? = try await store.lock(key)
    let waiting = Task { try await other.lock(key) }
    try await Task.sleep(for: .milliseconds(30))
    #expect(hold != nil)
    hold = nil
    let second = try await waiting.value
    #expect(try store.tryLock(key) == nil)
    withExtendedLifetime(second) {}
  }

  @Test func `waiting for a key ends when the task is cancelled`() async throws {
    let hold = try await store.lock(key)
    let (other, key) = (try scratch.store(), key)
    let waiting = Task { try await other.lock(key) }
    waiting.cancel()
    await #expect(throws: CancellationError.self) { try await waiting.value }
    withExtendedLifetime(hold) {}
  }

  @Test func `a key that another process holds is free once that process is killed`() async throws {
    let locker = try Locker(scratch.path + "/store/lock/" + key.description, "-x")
    #expect(try store.tryLock(key) == nil)
    let (store, key) = (store, key)
    let waiting = Task { try await store.lock(key) }
    locker.kill()
    _ = try await waiting.value
  }

  @Test func `nothing is removed while another process holds a lease, and all may hold one together`() async throws {
    _ = try store.insert(text: "garbage")
    let locker = try Locker(scratch.path + "/store/gc.lock", "-s")
    let lease = try await store.lease()
    #expect(try store.gc(maxSize: 0, maxAge: nil) == nil)
    withExtendedLifetime(lease) {}
    locker.kill()
  }

  @Test func `gc runs when the process that held a lease is killed`() throws {
    _ = try store.insert(text: "garbage")
    let locker = try Locker(scratch.path + "/store/gc.lock", "-s")
    #expect(try store.gc(maxSize: 0, maxAge: nil) == nil)
    #expect(try store.statistics().blobs.count == 1)
    locker.kill()
    #expect(try store.gc(maxSize: 0, maxAge: nil)?.blobs == 1)
  }

  @Test func `a build that begins during a gc waits for its end`() async throws {
    let locker = try Locker(scratch.path + "/store/gc.lock", "-x")
    let store = store
    // Not the task's result, which would live as long as the task does.
    let waiting = Task { _ = try await store.lease() }
    try await Task.sleep(for: .milliseconds(20))
    locker.kill()
    try await waiting.value
    #expect(try store.gc(maxSize: nil, maxAge: nil) != nil)
  }

  @Test func `a lock file that gc removed is made anew for the next`() async throws {
    do { _ = try await store.lock(key) }
    _ = try store.gc(maxSize: nil, maxAge: nil)
    #expect(try Disk.names(inFolder: scratch.path + "/store/lock") == [])
    #expect(try store.tryLock(key) != nil)
  }
}
