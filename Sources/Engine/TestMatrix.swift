import Events
import Graph
import Manifests
import Planning

extension Session {
  /// The affected tests as a matrix of GitHub Actions: one JSON object, an entry a job; empty where none is affected.
  ///
  /// A package's tests, which share its image, stay together; jobs are even by the durations of their last runs here.
  ///
  /// - Parameter durations: A file of them, as `Durations` reads it, for a machine on which nothing has run yet.
  package func matrix(of affected: Affected, shards count: Int, durations: String? = nil) throws -> String {
    let tests = affected.labels.filter { affected.reasons[$0]?.rule == .test }
    let expected = try Durations(given: durations, history: history, targets: tests)
    let packages = Dictionary(grouping: tests, by: \.package).sorted { $0.key < $1.key }
    let groups = packages.map { package, labels in
      Shards.Group(
        "//\(package)", cost: labels.reduce(0) { $0 + expected.seconds(of: $1, rule: .test) })
    }
    let shards = Shards(groups, count: count).members
    let entries = shards.enumerated().map { number, members -> String in
      var line = JSONLine()
      line.add("shard", "\(number + 1) of \(shards.count)")
      line.add("targets", members.flatMap { packages[$0].value.map(\.description) }.joined(separator: " "))
      line.add("seconds", Int(members.reduce(0) { $0 + groups[$1].cost }.rounded(.up)))
      return String(decoding: line.text, as: UTF8.self)
    }
    return "{\"include\":[\(entries.joined(separator: ","))]}"
  }
}
