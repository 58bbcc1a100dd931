import Diagnostics
import Glibc
import Sandboxing
import SystemPackage
import Testing

/// The same specification through both backends. As an ordinary user runc's process is user 0, and not asked for it.
@Suite struct `The runc sandbox` {
  /// What of a run must not depend on the backend.
  private struct Seen: Equatable {
    var status: SandboxResult.Status
    var text: String
    var outputs: [[UInt8]?]
  }

  private func see(
    _ host: TestHost, in sandbox: any Sandbox, _ spec: SandboxSpec, input: String
  ) async throws -> Seen {
    let (result, text) = try await host.run(spec, in: sandbox, input: input)
    let outputs = result.outputs.map { output -> [UInt8]? in
      guard let output else { return nil }
      defer { try? output.close() }
      return (try? output.readAll()) ?? Array("no file".utf8)
    }
    // runc's own words, of hosts without some control group.
    let lines = text.split(separator: "\n", omittingEmptySubsequences: false).filter { !$0.hasPrefix("time=") }
    return Seen(status: result.status, text: lines.joined(separator: "\n"), outputs: outputs)
  }

  @Test(arguments: [
    "env; pwd; hostname; ls /; cat /victim",
    "cat; exit 7",
    "echo a > /out; mkdir /d; ln -s x /link; rm /victim; ls -l /victim",
    "ls /proc/self/fd | wc -l; ip -o link | wc -l; cat /proc/net/dev | wc -l",
    "echo x > /input/file; echo x > /proc/sys/kernel/core_pattern; cat /input/file",
    "grep -E 'Cap|NoNew|Seccomp:' /proc/self/status; ulimit -c; ulimit -f; umask",
    "chmod 4755 /victim; stat -c %a /victim; cat /proc/keys | wc -l",
    "dd if=/dev/zero of=/tmp/big bs=64k count=64 2>&1 | grep -c 'No space left'",
    "dd if=/dev/zero of=/big bs=64k count=64 2>&1 | grep -c 'No space left'",
    "ls -d /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty /dev/ptmx /dev/shm /dev/fd /dev/stdin",
  ])
  func `gives what the first backend gives`(script: String) async throws {
    let host = try TestHost()
    // One stream: runc carries each through a pipe of its own.
    var spec = host.shell("exec 2>&1; " + script)
    spec.environment.append("HOME=/tmp/home")
    spec.workingDirectory = "/src/deep"
    spec.mounts = [.init(source: host.path("input"), target: "/input")]
    spec.outputs = ["/out", "/d", "/missing", "/victim"]
    spec.limits.scratch = 2 << 20
    let first = try await see(host, in: TestHost.shared, spec, input: "typed")
    let second = try await see(host, in: try RuncSandbox(), spec, input: "typed")
    #expect(first == second)
    #expect(try host.text("base/victim") == "original")
    #expect(try host.text("input/file") == "original")
  }

  @Test func `keeps the deadline, and leaves no process`() async throws {
    let host = try TestHost()
    var spec = host.shell("setsid sleep 98768 & sleep 98768")
    spec.limits.wallClock = 1
    #expect(try await host.run(spec, in: try RuncSandbox()).result.status == .timedOut)
    #expect(!isRunning("98768"))
  }

  @Test func `runc is named where it is missing`() async throws {
    let host = try TestHost()
    let sandbox = try RuncSandbox(path: host.path("no-runc"))
    let error = await #expect(throws: Diagnostic.self) { try await sandbox.run(host.spec("true")) }
    #expect(error?.message == "cannot execute `\(host.path("no-runc"))`: no such file or directory")
  }
}

@Suite struct `What the host offers` {
  @Test func `every feature that is required works where these tests run`() async throws {
    let host = try TestHost()
    let features = await SandboxFeature.all(scratch: host.folder)
    #expect(features.count == 9)
    for feature in features where feature.isRequired {
      #expect(feature.isOffered, "\(feature.name): \(feature.explanation); \(feature.hints)")
    }
    for feature in features { #expect(!feature.explanation.isEmpty && (feature.isOffered == feature.hints.isEmpty)) }
  }

  @Test func `a folder that cannot be written is told`() async throws {
    let features = await SandboxFeature.all(scratch: "/proc")
    let scratch = try #require(features.first { $0.name.hasPrefix("scratch") })
    #expect(!scratch.isOffered && scratch.explanation.hasPrefix("cannot make a folder there"))
  }
}
