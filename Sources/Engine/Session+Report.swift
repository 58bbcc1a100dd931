import Caching
import Files
import Graph
import Planning
import Reporting

extension Session {
  private static let failedLogLimit = 64 << 10
  private static let logLimit = 8 << 10

  /// Adds what the events of the last build do not tell: what depends on what, the critical path, and logs.
  package func complete(_ record: inout RunRecord) {
    let plan = kept?.plan
    let labels = labels(of: plan)
    let known = Set(record.targets.map(\.label))
    for index in record.targets.indices {
      guard let label = labels[record.targets[index].label], let node = plan?.graph.index(of: label) else { continue }
      let before = plan?.graph.nodes[node].dependencies.map(\.target.description) ?? []
      record.targets[index].dependencies = Set(before).intersection(known).sorted()
      guard record.targets[index].log == nil, record.targets[index].attempts > 0 else { continue }
      let limit = record.targets[index].outcome == .failed ? Self.failedLogLimit : Self.logLimit
      if let log = recordedLog(of: label), !log.isEmpty { record.targets[index].log = RunRecord.tail(log, limit) }
    }
    record.markCriticalPath()
  }

  /// By how events name them.
  private func labels(of plan: Plan?) -> [String: Label] {
    Dictionary(
      (plan?.graph.nodes ?? []).map { ($0.label.description, $0.label) }, uniquingKeysWith: { first, _ in first })
  }

  /// The log of a target's last run, where this machine has it.
  private func recordedLog(of label: Label) -> [UInt8]? {
    guard let entry = history.entry(of: label), let log = store.actions.any(entry.key)?.log else { return nil }
    return try? store.read(log.digest, limit: 1 << 30)
  }

  /// What a CI system shows beside the files of failed tests: the line that the log names, or the target's declaration.
  package func annotations(of record: RunRecord) -> [Annotation] {
    let plan = kept?.plan
    let labels = labels(of: plan)
    return record.targets.filter { $0.outcome == .failed }.map { target in
      let title = target.label
      guard let label = labels[target.label], let declared = plan?.targets[label] else {
        return Annotation(.error, title: title, message: target.reason ?? "failed")
      }
      if let log = target.log, let place = FailurePlace(log: log), let file = source(place.path, of: label.package) {
        return Annotation(.error, title: title, file: file.string, line: place.line, message: place.message)
      }
      let span = declared.declaration.place.span
      // Kinds that ship with Slipway are no files of the workspace.
      let isOwn = !span.file.hasPrefix("@")
      let folder = label.package
      let manifest = WorkspaceDefinition.manifests.map { folder.appending($0) }.first {
        workspace.tree.mode(of: $0) != nil
      }
      return Annotation(
        .error, title: title, file: isOwn ? span.file : manifest?.string, line: isOwn ? span.line : 1,
        message: target.reason ?? "failed")
    }
  }

  /// The package's source file that a path in a sandbox or an image stands for.
  private func source(_ path: String, of package: WorkspacePath) -> WorkspacePath? {
    let files = workspace.tree.files(in: package).map(\.path)
    let found = files.filter { path == $0 || path.hasSuffix("/" + $0) || $0.hasSuffix("/" + path) }
    return found.max { $0.utf8.count < $1.utf8.count }.map { package.appending($0) }
  }
}
