import Caching
import Diagnostics
import Graph
import Manifests
import OCI
import Planning

/// How long targets are expected to take: as given, as recorded in this workspace, or as others like them.
package struct Durations {
  private var given: [String: Double] = [:]
  private let history: History
  /// Medians of what is recorded, by the targets' names.
  private var likely: [String: Double] = [:]

  /// Seconds of a target about which nothing is known.
  private static let unknown: [Rule: Double] = [.test: 10, .rootfs: 60, .fetch: 10, .pull: 5, .action: 5, .image: 1]

  /// - Parameter given: A JSON object of seconds, by `//a:b`, by `:b` for all targets of a name, or by a rule; or a
  ///   `report.json`.
  /// - Throws: A diagnostic for a file that is neither.
  package init(given path: String?, history: History, targets: some Sequence<Label>) throws {
    self.history = history
    if let path { given = try Self.read(path) }
    learn(from: targets)
  }

  private static func read(_ path: String) throws -> [String: Double] {
    guard let bytes = try Disk.contents(of: path, limit: 64 << 20) else {
      throw Diagnostic.error("cannot read the durations in `\(path)`: it is not there")
    }
    func seconds(_ value: JSON?) -> Double? {
      if case .number(let text)? = value, let seconds = Double(text), seconds >= 0, seconds < 1e9 { return seconds }
      return nil
    }
    guard let members = JSON(decoding: bytes)?.object else {
      throw Diagnostic.error("`\(path)` holds no JSON object", hints: ["write seconds: {\"//a:b\": 12.5, \":b\": 30}"])
    }
    var found: [String: Double] = [:]
    if let targets = members["targets"]?.array {
      for target in targets {
        guard let label = target["label"]?.string, let milliseconds = seconds(target["duration_ms"]) else { continue }
        found[label] = milliseconds / 1000
      }
      return found
    }
    for (name, value) in members {
      guard let number = seconds(value) else {
        throw Diagnostic.error("`\(name)` in `\(path)` is no number of seconds")
      }
      guard name.hasPrefix("//") || name.hasPrefix(":") || Rule(rawValue: name) != nil else {
        throw Diagnostic.error(
          "`\(name)` in `\(path)` is no label, no `:name` and no rule",
          hints: ["write seconds: {\"//a:b\": 12.5, \":b\": 30, \"image\": 2}"])
      }
      found[name] = number
    }
    return found
  }

  private mutating func learn(from targets: some Sequence<Label>) {
    var recorded: [String: [Double]] = [:]
    for label in targets {
      if let seconds = known(label) { recorded[label.name, default: []].append(seconds) }
    }
    likely = recorded.mapValues { $0.sorted()[$0.count / 2] }
  }

  /// As given for the target itself, or as its last run here took.
  package func known(_ label: Label) -> Double? { given[label.description] ?? history.seconds(of: label) }

  package func seconds(of label: Label, rule: Rule) -> Double {
    known(label) ?? given[":" + label.name] ?? given[rule.rawValue] ?? likely[label.name] ?? Self.unknown[rule] ?? 0
  }
}
