import Caching

extension Event {
  /// The format of the line; raised when a reader of the older one would misread it.
  package static let formatVersion = 1

  /// The event as `schemas/events.schema.json` has it: one line, its newline included.
  package var jsonLine: [UInt8] {
    var line = JSONLine()
    line.add("v", Self.formatVersion)
    line.add("seq", sequence)
    line.add("t_ms", milliseconds)
    line.add("type", kind.rawValue)
    line.add("label", label)
    line.add("rule", rule)
    line.add("key", key)
    line.add("outcome", outcome?.rawValue)
    line.add("verdict", verdict?.rawValue)
    line.add("reason", reason)
    line.add("exit_code", exitCode)
    line.add("duration_ms", durationMs)
    line.add("attempt", attempt)
    line.add("targets", targets)
    line.add("text", bytes: text)
    line.add("log", log)
    line.add("message", message)
    line.add("miss", miss)
    line.add("counts", object: counts?.json)
    line.add("cache", object: cache?.json)
    return line.text + [UInt8(ascii: "\n")]
  }
}

extension CacheStatistics {
  package var json: JSONLine {
    var line = JSONLine()
    line.add("local", object: local.json)
    line.add("remote", object: remote?.json)
    return line
  }
}

extension TierStatistics {
  fileprivate var json: JSONLine {
    var line = JSONLine()
    for field in fields { line.add(field.name, number: field.value) }
    var reasons = JSONLine()
    for (reason, count) in misses.sorted(by: { $0.key < $1.key }) { reasons.add(reason, number: "\(count)") }
    line.add("misses", object: reasons)
    return line
  }
}

extension Counts {
  fileprivate var json: JSONLine {
    var line = JSONLine()
    line.add("total", total)
    line.add("hit_local", hitLocal)
    line.add("hit_remote", hitRemote)
    line.add("executed", executed)
    line.add("failed", failed)
    line.add("skipped", skipped)
    line.add("tests", object: tests.json)
    return line
  }
}

extension Counts.Tests {
  fileprivate var json: JSONLine {
    var line = JSONLine()
    line.add("passed", passed)
    line.add("cached", cached)
    line.add("flaky", flaky)
    line.add("failed", failed)
    line.add("timed_out", timedOut)
    line.add("no_tests", noTests)
    line.add("skipped", skipped)
    return line
  }
}
