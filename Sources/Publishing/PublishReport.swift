import Diagnostics
import Digests
import Manifests
import OCI

/// What became of one connector, or would.
package struct PublishEntry: Sendable {
  package enum Result: String, Hashable, Sendable, CaseIterable {
    /// A dry run would push it, or move what is missing.
    case planned
    case published
    /// It was published already; a tag, metadata or a receipt that was missing is there now.
    case repaired
    case unchanged
    case skipped
    case failed
  }

  /// The `publish` target.
  package var label: String
  package var repository: String
  package var version: String
  package var release: Release?
  package var images: [BuiltImage] = []
  package var manifest: Digest?
  package var published: Published?
  /// `nil` when it failed before its state was known.
  package var state: PublishState?
  package var result = Result.unchanged
  /// Tags that name it after a publish, or that a dry run would move.
  package var tags: [String] = []
  package var floating: [String] = []
  /// What was repaired, or would be.
  package var repairs: [String] = []
  package private(set) var errors: [Diagnostic] = []
  package private(set) var codes: Set<Int32> = []

  package init(label: String, repository: String, version: String) {
    self.label = label
    self.repository = repository
    self.version = version
  }

  /// - Parameter isConsequence: What they follow from has told its exit code already.
  package mutating func fail(_ errors: [Diagnostic], isConsequence: Bool = false) {
    self.errors += errors
    result = .failed
    if isConsequence { return }
    for error in errors where error.severity == .error { codes.insert(error.cause.rawValue) }
  }

  /// Takes over what the state means; an error says what to do.
  package mutating func settle(_ state: PublishState, at span: SourceSpan?) {
    self.state = state
    let name = release.map { "\($0.reference)" } ?? repository
    let package = release?.package ?? label
    switch state {
    case .absent(let tags):
      result = .planned
      self.tags = tags
    case .identical(let tags):
      result = tags.isEmpty ? .unchanged : .planned
      self.tags = tags
      repairs = tags.map { "tag \($0)" }
    case .skipped: result = .skipped
    case .changed(let differences):
      let isPreview = release?.channel == .preview
      fail([
        .error(
          "\(name) is published with another image than \(label) gives", at: span, cause: .build,
          notes: differences.map { difference in
            let published = difference.published.map { "the published one is \($0.oci)" } ?? "none is published"
            return Diagnostic.Note("\(difference.platform): the image is \(difference.built.oci), \(published)")
          },
          hints: [
            isPreview
              ? "name another suffix: --prerelease SUFFIX" : "give it a new version: slipway bump \(package) patch"
          ])
      ])
    case .older(let newest):
      fail([
        .error(
          "\(name) cannot be published: \(newest.text) is, which is newer", at: span, cause: .build,
          hints: ["give it a version after \(newest.text): slipway bump \(package) VERSION"])
      ])
    case .refused(let reason, let hint):
      fail([.error("\(name) cannot be published: \(reason)", at: span, cause: .build, hints: [hint])])
    }
  }

  /// One line for people.
  package var detail: String {
    if result == .failed, let error = errors.first, state?.isError != true { return error.message }
    switch state {
    case .absent?:
      let list = tags.joined(separator: ", ")
      return result == .planned ? "to be pushed as \(list)" : "pushed as \(list)"
    case .identical?:
      if repairs.isEmpty { return "nothing to do" }
      return (result == .planned ? "missing: " : "restored: ") + repairs.joined(separator: ", ")
    case .changed(let differences)?:
      return "another image is published (" + differences.map(\.platform).joined(separator: ", ") + ")"
    case .older(let newest)?: return "\(newest.text) is published"
    case .skipped(let reason)?: return reason
    case .refused(let reason, _)?: return reason
    case nil: return ""
    }
  }

  /// The word of the table: the state in a plan, the result after a run.
  package var word: String {
    switch result {
    case .published, .repaired: result.rawValue
    case .failed where state?.isError != true: "failed"
    default: state?.name ?? result.rawValue
    }
  }
}

/// What a publish came to, or a dry run.
package struct PublishReport: Sendable {
  package var entries: [PublishEntry]
  package var isDryRun: Bool
  /// Of the build and the tests, and of what belongs to no connector.
  package var codes: Set<Int32> = []
  package var errors: [Diagnostic] = []

  package init(entries: [PublishEntry], isDryRun: Bool) {
    self.entries = entries
    self.isDryRun = isDryRun
  }

  /// Bazel's codes; what is worst comes first.
  package var exitCode: Int32 {
    var codes = entries.reduce(into: codes) { $0.formUnion($1.codes) }
    for error in errors where error.severity == .error { codes.insert(error.cause.rawValue) }
    if codes.isEmpty, entries.contains(where: { $0.result == .failed }) { codes.insert(1) }
    return [37, 36, 8, 2, 1, 3, 4].first { codes.contains($0) } ?? 0
  }

  /// `3 connectors: 1 published, 2 identical`.
  package var summary: String {
    let count = entries.count == 1 ? "1 connector" : "\(entries.count) connectors"
    let order = ["published", "repaired", "absent", "identical", "changed", "older", "refused", "failed", "skipped"]
    let parts = order.compactMap { word in
      let number = entries.count { $0.word == word }
      return number == 0 ? nil : "\(number) \(word)"
    }
    return parts.isEmpty ? "\(count) to publish" : "\(count): \(parts.joined(separator: ", "))"
  }

  /// Columns, with a heading; nothing when there is nothing to list.
  package var table: String {
    guard !entries.isEmpty else { return "" }
    let rows = [["CONNECTOR", "VERSION", "STATE", ""]] + entries.map { [$0.label, $0.version, $0.word, $0.detail] }
    let widths = (0..<3).map { column in rows.map { $0[column].count }.max() ?? 0 }
    return rows.map { row in
      var line = ""
      for column in 0..<3 {
        line += row[column] + String(repeating: " ", count: widths[column] - row[column].count + 2)
      }
      line += Diagnostic.printable(row[3])
      while line.hasSuffix(" ") { line.removeLast() }
      return line + "\n"
    }.joined()
  }

  /// schemas/publish-plan.schema.json
  package var json: JSON {
    .object([
      "v": .number(1), "dryRun": .bool(isDryRun), "exitCode": .number(Int(exitCode)),
      "connectors": .array(entries.map(\.json)),
    ])
  }
}

extension PublishEntry {
  var json: JSON {
    var members: [String: JSON] = [
      "label": .string(label), "repository": .string(repository), "version": .string(version),
      "result": .string(result.rawValue), "detail": .string(detail),
    ]
    if let release {
      members["reference"] = .string(release.reference.description)
      members["channel"] = .string(release.channel.rawValue)
      if !release.after.isEmpty { members["after"] = .strings(release.after) }
    }
    if let state { members["state"] = .string(state.name) }
    if let manifest { members["manifest"] = .string(manifest.oci) }
    if !images.isEmpty { members["platforms"] = .array(images.map(\.json)) }
    if !tags.isEmpty { members["tags"] = .strings(tags) }
    if !repairs.isEmpty { members["repairs"] = .strings(repairs) }
    if !floating.isEmpty { members["floating"] = .strings(floating) }
    if let published { members["published"] = published.json }
    if !errors.isEmpty {
      members["errors"] = .array(
        errors.map { error in
          .object(["message": .string(error.message), "hints": .strings(error.hints)])
        })
    }
    return .object(members)
  }
}

extension Published {
  var json: JSON {
    var members: [String: JSON] = [:]
    if let version {
      members["manifest"] = .string(version.manifest.oci)
      members["configs"] = .object(version.configs.mapValues { .string($0.oci) })
    }
    if let latest { members["latest"] = .string(latest.oci) }
    if let newest { members["newest"] = .string(newest.text) }
    return .object(members)
  }
}
