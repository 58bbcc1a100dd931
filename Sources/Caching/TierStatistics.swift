import Glibc
import SystemPackage

/// What one tier of the cache did, in one build or in all.
package struct TierStatistics: Hashable, Sendable {
  package var hits = 0
  /// By reason, in words.
  package var misses: [String: Int] = [:]
  /// Questions that failed.
  package var failures = 0
  /// Blobs that a result named and the tier had no more.
  package var lostBlobs = 0
  package var bytesDown = 0
  package var bytesUp = 0
  /// Results that were given to it.
  package var uploads = 0
  /// Results that were not: no time, or no server.
  package var uploadsLeft = 0
  /// Of waiting for answers, in sum over all at once.
  package var seconds = 0.0
  /// That the hits' actions took where they ran.
  package var savedSeconds = 0.0

  package init() {}

  package var missCount: Int { misses.values.reduce(0, +) }

  /// `no result 3, not signed 1`, the most frequent first.
  package var missText: String {
    misses.sorted { ($1.value, $0.key) < ($0.value, $1.key) }.map { "\($0.key) \($0.value)" }.joined(separator: ", ")
  }

  package static func + (one: TierStatistics, other: TierStatistics) -> TierStatistics {
    var sum = one
    for path in counters { sum[keyPath: path.value] += other[keyPath: path.value] }
    for path in times { sum[keyPath: path.value] += other[keyPath: path.value] }
    sum.misses.merge(other.misses, uniquingKeysWith: +)
    return sum
  }

  fileprivate struct Field<Value>: @unchecked Sendable {
    var name: String
    var value: WritableKeyPath<TierStatistics, Value>
  }

  fileprivate static let counters = [
    Field(name: "hits", value: \.hits), Field(name: "failures", value: \.failures),
    Field(name: "lost_blobs", value: \.lostBlobs), Field(name: "bytes_down", value: \.bytesDown),
    Field(name: "bytes_up", value: \.bytesUp), Field(name: "uploads", value: \.uploads),
    Field(name: "uploads_left", value: \.uploadsLeft),
  ]
  fileprivate static let times = [
    Field(name: "seconds", value: \.seconds), Field(name: "saved_seconds", value: \.savedSeconds),
  ]

  /// Every counter and time by its name in JSON, in a fixed order; the misses are not among them.
  package var fields: [(name: String, value: String)] {
    Self.counters.map { ($0.name, "\(self[keyPath: $0.value])") }
      + Self.times.map { ($0.name, "\((self[keyPath: $0.value] * 1000).rounded() / 1000)") }
  }
}

/// What the tiers of the cache did.
package struct CacheStatistics: Hashable, Sendable {
  package var local: TierStatistics
  /// Nil where there was no remote tier.
  package var remote: TierStatistics?

  package init(local: TierStatistics = TierStatistics(), remote: TierStatistics? = nil) {
    self.local = local
    self.remote = remote
  }
}

extension Duration {
  package var seconds: Double { Double(components.seconds) + Double(components.attoseconds) * 1e-18 }
}

extension CacheStatistics {
  /// A line for each number: tier, name, value; a miss's name is its reason behind `miss:`.
  var encoded: [UInt8] {
    var text = ""
    for (tier, statistics) in [("local", local), ("remote", remote ?? TierStatistics())] {
      for field in statistics.fields { text += "\(tier)\t\(field.name)\t\(field.value)\n" }
      for (reason, count) in statistics.misses.sorted(by: { $0.key < $1.key }) {
        text += "\(tier)\tmiss:\(reason)\t\(count)\n"
      }
    }
    return Array(text.utf8)
  }

  /// What cannot be read counts for nothing.
  init(decoding bytes: [UInt8]) {
    self.init(remote: TierStatistics())
    for line in bytes.split(separator: 10) {
      let parts = line.split(separator: 9).map { String(decoding: $0, as: UTF8.self) }
      guard parts.count == 3 else { continue }
      func note(_ statistics: inout TierStatistics) {
        if parts[1].hasPrefix("miss:"), let count = Int(parts[2]), count > 0 {
          statistics.misses[String(parts[1].dropFirst(5)), default: 0] += count
        } else if let field = TierStatistics.counters.first(where: { $0.name == parts[1] }) {
          statistics[keyPath: field.value] = max(0, Int(parts[2]) ?? 0)
        } else if let field = TierStatistics.times.first(where: { $0.name == parts[1] }) {
          statistics[keyPath: field.value] = max(0, Double(parts[2]) ?? 0)
        }
      }
      if parts[0] == "local" { note(&local) }
      if parts[0] == "remote", var remote {
        note(&remote)
        self.remote = remote
      }
    }
  }
}

extension Store {
  private var totalsPath: String { base + "/totals" }

  /// What the tiers did in all builds that used this store.
  package func totals() throws -> CacheStatistics {
    CacheStatistics(decoding: try Disk.contents(of: totalsPath, limit: 1 << 20) ?? [])
  }

  /// Adds a build's share; where another process does the same just now, it waits.
  package func addToTotals(_ statistics: CacheStatistics) async throws {
    let hold = try await hold(base + "/lock/totals", LOCK_EX)
    defer { withExtendedLifetime(hold) {} }
    var sum = try totals()
    sum.local = sum.local + statistics.local
    if let remote = statistics.remote { sum.remote = (sum.remote ?? TierStatistics()) + remote }
    try replace(totalsPath, with: sum.encoded)
  }
}
