import Glibc
import Sandboxing
import SystemPackage
import Testing

@Suite struct `Limits of the sandbox` {
  @Test func `a fork bomb is held`() async throws {
    let host = try TestHost()
    var spec = host.shell("f() { f & f & }; f; for i in $(seq 100); do sleep 1 & done; echo none")
    spec.limits.processes = 20
    spec.limits.wallClock = 5
    let (_, text) = try await host.run(spec)
    #expect(text.contains("can't fork"))
    #expect(try await host.run(host.spec("true")).result.status == .exited(0))
  }

  @Test func `one limit does not count another sandbox's processes`() async throws {
    let host = try TestHost()
    try await withThrowingTaskGroup(of: SandboxResult.Status.self) { group in
      for _ in 0..<8 {
        group.addTask {
          var spec = host.shell("for i in 1 2 3 4; do sleep 0.3 & done; wait")
          spec.limits.processes = 6
          return try await host.run(spec).result.status
        }
      }
      for try await status in group { #expect(status == .exited(0)) }
    }
  }

  @Test func `a file grows to its limit only`() async throws {
    let host = try TestHost()
    var spec = host.shell("dd if=/dev/zero of=/big bs=1k count=200; stat -c %s /big")
    spec.limits.fileSize = 100 << 10
    let (_, text) = try await host.run(spec)
    #expect(text.hasSuffix("102400\n"))
  }

  @Test(arguments: ["/big", "/tmp/big", "/dev/shm/big"])
  func `full scratch space says so`(path: String) async throws {
    let host = try TestHost()
    var spec = host.spec("dd", "if=/dev/zero", "of=\(path)", "bs=64k", "count=64")
    spec.limits.scratch = 1 << 20
    let (result, text) = try await host.run(spec)
    #expect(result.status == .exited(1))
    #expect(text.contains("No space left on device"))
  }

  @Test func `files without end are held, too`() async throws {
    let host = try TestHost()
    var spec = host.shell("i=0; while : > /tmp/$i; do i=$((i+1)); done")
    spec.limits.scratch = 1 << 20
    let (result, text) = try await host.run(spec)
    #expect(result.status != .timedOut)
    #expect(text.contains("No space left on device"))
  }

  @Test func `memory is limited for each process`() async throws {
    let host = try TestHost()
    var spec = host.spec("dd", "if=/dev/zero", "of=/dev/null", "bs=200M", "count=1")
    #expect(try await host.run(spec).result.peakMemory > 100 << 20)
    spec.limits.memory = 64 << 20
    #expect(try await host.run(spec).result.status == .exited(1))
  }

  @Test func `time and memory are told`() async throws {
    let host = try TestHost()
    let result = try await host.run(host.shell("sleep 0.2; i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done")).result
    #expect(result.wallClock >= 0.2 && result.wallClock < 20)
    #expect(result.cpuTime > 0)
    #expect(result.peakMemory > 0)
  }

  @Test func `no core is dumped`() async throws {
    let host = try TestHost()
    let (_, text) = try await host.run(host.shell("ulimit -c"))
    #expect(text == "0\n")
  }
}
