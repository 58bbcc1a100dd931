import Diagnostics
import Glibc
import Sandboxing
import SystemPackage

/// Runs one specification from the command line: for tests that need another user or namespace than the test's own.
///
///     sandbox-probe [--layer PATH]… [--mount SOURCE:TARGET]… [--env NAME=VALUE]… [--output PATH]… [--cwd PATH]
///       [--network host] [--folder PATH] [--limit NAME=VALUE]… [--runc] [--interactive]
///       [--repeat N] [--jobs N] -- COMMAND…
///
/// The streams are the caller's. The last line on standard error is the result; the exit status is 0 when the command
/// ended by itself with 0, 1 when it ended otherwise, 36 when there was no sandbox.
enum Probe {
  struct Options {
    var spec = SandboxSpec()
    var runc = false
    var count = 1
    var jobs = 1
  }

  static func main(_ arguments: [String]) async {
    guard let options = parse(arguments) else {
      report("usage: sandbox-probe [OPTION]… -- COMMAND…")
      exit(2)
    }
    do {
      let sandbox: any Sandbox = options.runc ? try RuncSandbox() : NamespaceSandbox()
      if options.count > 1 { return try await measure(options, sandbox) }
      let result = try await sandbox.run(options.spec)
      for (path, output) in zip(options.spec.outputs, result.outputs) {
        report("output \(path) \(output.map(describe) ?? "missing")")
      }
      report("limited \(result.isLimitedAsWhole) out of memory \(result.ranOutOfMemory)")
      report("result \(result.status) cpu \(result.cpuTime > 0) peak \(result.peakMemory >> 20)")
      exit(result.status == .exited(0) ? 0 : 1)
    } catch let diagnostic as Diagnostic {
      report("error: \(diagnostic.message)")
      for hint in diagnostic.hints { report("hint: \(hint)") }
      exit(36)
    } catch {
      report("error: \(error)")
      exit(37)
    }
  }

  private static func report(_ line: String) {
    _ = try? FileDescriptor.standardError.writeAll((line + "\n").utf8)
  }

  private static func parse(_ arguments: [String]) -> Options? {
    var options = Options()
    options.spec.standardInput = .standardInput
    options.spec.standardOutput = .standardOutput
    options.spec.standardError = .standardError
    var rest = arguments[...]
    while let option = rest.popFirst() {
      switch option {
      case "--":
        options.spec.arguments = Array(rest)
        return rest.isEmpty ? nil : options
      case "--runc":
        options.runc = true
        continue
      case "--interactive":
        options.spec.interactive = true
        continue
      default: break
      }
      guard let value = rest.popFirst() else { return nil }
      switch option {
      case "--layer": options.spec.layers.append(value)
      case "--mount":
        let parts = value.split(separator: ":", maxSplits: 1).map(String.init)
        guard parts.count == 2 else { return nil }
        options.spec.mounts.append(.init(source: parts[0], target: parts[1]))
      case "--env": options.spec.environment.append(value)
      case "--output": options.spec.outputs.append(value)
      case "--cwd": options.spec.workingDirectory = value
      case "--network": options.spec.network = value == "host" ? .host : .none
      case "--folder": options.spec.scratch = .folder(value)
      case "--repeat": options.count = Int(value) ?? 1
      case "--jobs": options.jobs = Int(value) ?? 1
      case "--limit": guard limit(value, &options.spec.limits) else { return nil }
      default: return nil
      }
    }
    return nil
  }

  private static func limit(_ text: String, _ limits: inout SandboxSpec.Limits) -> Bool {
    let parts = text.split(separator: "=", maxSplits: 1).map(String.init)
    guard parts.count == 2, let value = Double(parts[1]) else { return false }
    switch parts[0] {
    case "processes": limits.processes = Int(value)
    case "memory": limits.memory = Int(value)
    case "total-memory": limits.totalMemory = Int(value)
    case "file-size": limits.fileSize = Int(value)
    case "scratch": limits.scratch = Int(value)
    case "wall-clock": limits.wallClock = value
    default: return false
    }
    return true
  }

  private static func describe(_ output: FileDescriptor) -> String {
    var status = stat()
    guard fstat(output.rawValue, &status) == 0 else { return "unreadable" }
    let kind =
      switch status.st_mode & S_IFMT {
      case S_IFREG: "file"
      case S_IFDIR: "folder"
      case S_IFLNK: "link"
      default: "other"
      }
    var bytes = [UInt8](repeating: 0, count: 4096)
    let count = read(output.rawValue, &bytes, bytes.count)
    guard kind == "file", count >= 0 else { return kind }
    return "\(kind) \(String(decoding: bytes.prefix(count), as: UTF8.self))"
  }

  /// Median wall clock of an action as the caller sees it.
  private static func measure(_ options: Options, _ sandbox: any Sandbox) async throws {
    let clock = ContinuousClock()
    var times: [Duration] = []
    var failures = 0
    let whole = try await clock.measure {
      try await withThrowingTaskGroup(of: (Duration, Bool).self) { group in
        var started = 0
        func start() {
          started += 1
          group.addTask {
            let begin = clock.now
            let result = try await sandbox.run(options.spec)
            for case let output? in result.outputs { try output.close() }
            return (clock.now - begin, result.status == .exited(0))
          }
        }
        while started < min(options.jobs, options.count) { start() }
        for try await (time, passed) in group {
          times.append(time)
          if !passed { failures += 1 }
          if started < options.count { start() }
        }
      }
    }
    times.sort()
    func milliseconds(_ duration: Duration) -> Double { Double((duration / .microseconds(1)).rounded()) / 1000 }
    report(
      "result \(times.count) runs, \(failures) failed, ms: median \(milliseconds(times[times.count / 2]))"
        + " min \(milliseconds(times[0])) p95 \(milliseconds(times[times.count * 95 / 100]))"
        + " each \(milliseconds(whole / options.count))")
  }
}
