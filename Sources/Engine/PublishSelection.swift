import Diagnostics
import Distribution
import Graph
import Manifests
import Planning
import Publishing

/// One `publish` target, with what its metadata says.
struct PublishSubject {
  var target: Target
  /// The metadata's `data`.
  var data: Node
  var entry: PublishEntry
  /// Of the version, for messages.
  var versionSpan: SourceSpan?
  /// Repositories that `registryOverrides` name in place of this one.
  var variants: [String]

  var label: Label { target.label }
}

/// Finds what patterns mean to publish.
struct PublishSelection {
  let plan: Plan
  let destination: PublishDestination
  let prerelease: String?

  /// The subjects in the order in which they are published: variants before those that name them, then by label.
  ///
  /// A label of another rule means the `publish` target of its package that publishes it, so that `//a/b` does.
  ///
  /// - Throws: A `DiagnosticList` of all mistakes in their metadata.
  func subjects(_ wanted: [Label]) throws -> [PublishSubject] {
    var chosen: Set<Label> = []
    for label in wanted {
      guard let target = plan.targets[label] else { continue }
      if target.rule == .publish {
        chosen.insert(label)
      } else {
        for declaration in plan.packages[label.package]?.declaration.targets ?? [] where declaration.rule == .publish {
          let other = Label(package: label.package, name: declaration.name.value)
          if plan.targets[other]?.image?.label == label { chosen.insert(other) }
        }
      }
    }
    var diagnostics = DiagnosticList()
    var subjects: [PublishSubject] = []
    for target in chosen.sorted().compactMap({ plan.targets[$0] }) {
      if let subject = subject(target, &diagnostics) { subjects.append(subject) }
    }
    refuseTwins(subjects, &diagnostics)
    if diagnostics.hasErrors { throw diagnostics }
    let repositories = Set(subjects.map(\.entry.repository))
    for index in subjects.indices {
      let subject = subjects[index]
      subjects[index].entry.release?.after = subject.variants.filter { repositories.contains($0) }
    }
    let named = Set(subjects.flatMap { $0.entry.release?.after ?? [] })
    return subjects.filter { named.contains($0.entry.repository) }
      + subjects.filter { !named.contains($0.entry.repository) }
  }

  private func subject(_ target: Target, _ diagnostics: inout DiagnosticList) -> PublishSubject? {
    let data = target.declaration.metadata ?? plan.packages[target.label.package]?.declaration.metadata?.data
    func text(_ name: String) -> String? { data?[name]?.string }
    guard let data, let repository = text("dockerRepository"), let version = text("dockerImageTag") else {
      let missing = text("dockerRepository") == nil ? "dockerRepository" : "dockerImageTag"
      diagnostics.diagnostics.append(
        .error(
          "\(target.label) cannot be published: its metadata has no `\(missing)`", at: target.declaration.place.span))
      return nil
    }
    let span = data["dockerImageTag"]?.span
    guard let semantic = SemanticVersion(version) else {
      diagnostics.diagnostics.append(.error("`dockerImageTag` is not a semantic version: `\(version)`", at: span))
      return nil
    }
    var tag = version
    var channel = semantic.isStable ? ReleaseChannel.stable : .candidate
    if let prerelease {
      tag = "\(semantic.major).\(semantic.minor).\(semantic.patch)-dev.\(prerelease)"
      channel = .preview
    }
    var entry = PublishEntry(label: target.label.description, repository: repository, version: tag)
    do {
      guard semantic.build == nil else {
        throw Diagnostic.error(
          "a tag cannot hold the build metadata of `\(version)`", hints: ["leave out `+` and the rest"])
      }
      entry.release = Release(
        label: entry.label, repository: repository, reference: try destination.reference(repository, tag: tag),
        version: SemanticVersion(tag) ?? semantic, channel: channel)
    } catch {
      var diagnostic = error.diagnostic(about: target.label)
      diagnostic.span = span
      diagnostics.diagnostics.append(diagnostic)
      return nil
    }
    if text("supportLevel") == "archived" {
      entry.settle(.skipped("`supportLevel` is `archived`"), at: nil)
    }
    let overrides = data["registryOverrides"]
    let variants = ["cloud", "oss"].compactMap { overrides?[$0]?["dockerRepository"]?.string }
    return PublishSubject(
      target: target, data: data, entry: entry, versionSpan: span, variants: variants.filter { $0 != repository })
  }

  /// Two targets under one name would overwrite each other.
  private func refuseTwins(_ subjects: [PublishSubject], _ diagnostics: inout DiagnosticList) {
    var first: [Reference: PublishSubject] = [:]
    for subject in subjects where subject.entry.result != .skipped {
      guard let reference = subject.entry.release?.reference else { continue }
      if let other = first[reference] {
        diagnostics.diagnostics.append(
          .error(
            "\(subject.label) and \(other.label) would both be published as \(reference)", at: subject.versionSpan,
            notes: other.versionSpan.map { [Diagnostic.Note("\(other.label) names it here", at: $0)] } ?? []))
      } else {
        first[reference] = subject
      }
    }
  }

  /// Root file systems below an image that no lock pins, so that the image cannot be made again.
  func floating(below image: Label) -> [String] {
    guard let root = plan.graph.index(of: image) else { return [] }
    return plan.graph.closure(of: [root]).map { plan.graph.nodes[$0].label }.filter { label in
      guard let target = plan.targets[label], target.rule == .rootfs else { return false }
      return target.declaration.rootfs?.lock == nil
    }.map(\.description)
  }

  /// What must pass before the package's image may be pushed: `:test`, or else its tests of the image.
  func tests(of subject: PublishSubject) -> [Label] {
    let declaration = plan.packages[subject.label.package]?.declaration
    if let target = declaration?.target("test"), target.rule == .suite || target.rule == .test {
      return [Label(package: subject.label.package, name: "test")]
    }
    return spec(of: subject).map { [$0] } ?? []
  }

  /// The test whose log holds the image's specification.
  func spec(of subject: PublishSubject) -> Label? {
    let target = plan.packages[subject.label.package]?.declaration.target("spec")
    guard let target, target.rule == .suite || target.rule == .test else { return nil }
    return Label(package: subject.label.package, name: "spec")
  }
}
