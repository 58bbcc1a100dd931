import Diagnostics
import Digests
import Manifests
import OCI

/// Keeps a metadata store's index and registry documents in step with its folders.
package struct ConnectorRegistryUpdate: Sendable {
  private let store: any MetadataStore
  private let publicURL: String?
  private let journal: PublishJournal?
  /// Files that are read at once.
  private let width = 8

  /// - Parameters:
  ///   - publicURL: Where readers find the store; that of a web server if not given.
  ///   - journal: Remembers that documents are being written; after a kill the next run writes them again.
  package init(_ store: any MetadataStore, publicURL: String? = nil, journal: PublishJournal? = nil) {
    self.store = store
    self.journal = journal
    let own = store.url.hasPrefix("file://") ? nil : store.url
    self.publicURL = (publicURL ?? own).map { $0.hasSuffix("/") ? String($0.dropLast()) : $0 }
  }

  package struct Outcome: Hashable, Sendable {
    package var written: [String] = []
    package var problems: [Diagnostic] = []
    package var connectors = 0
  }

  /// Brings changes into the index, and the registry documents up to date with it; asks for nothing but the index when
  /// they are.
  package func update(_ changes: [MetadataIndex.Change]) async throws -> Outcome {
    var outcome = Outcome()
    var index = try await MetadataIndex.update(store, changes)
    try await withdrawSuperseded(&index)
    try await regenerate(index, &outcome)
    return outcome
  }

  /// Makes index and registry documents anew from the folders of the store.
  package func repair(repositories: [String]) async throws -> Outcome {
    let (index, problems) = try await MetadataIndex.rebuild(from: store, repositories: repositories)
    var outcome = Outcome(problems: problems)
    var whole = index
    try await withdrawSuperseded(&whole)
    // Without the note of what the documents were made from, they are compared.
    if try await store.writeIfChanged(
      whole.encoded, to: try MetadataPath(MetadataIndex.path), contentType: "application/json")
    {
      outcome.written.append(MetadataIndex.path)
    }
    try await regenerate(whole, &outcome)
    return outcome
  }

  /// A candidate whose release is out is no candidate any more.
  private func withdrawSuperseded(_ index: inout MetadataIndex) async throws {
    var changes: [MetadataIndex.Change] = []
    for repository in index.repositories {
      guard let entries = index.connectors[repository]?.entries,
        let candidate = entries[.releaseCandidate].flatMap({ SemanticVersion($0.version) }),
        let latest = entries[.latest].flatMap({ SemanticVersion($0.version) }), candidate < latest
      else { continue }
      try await MetadataUpload(to: store).withdraw(.releaseCandidate, of: repository)
      changes.append(MetadataIndex.Change(repository: repository, channel: .releaseCandidate, entry: nil))
    }
    if !changes.isEmpty { index = try await MetadataIndex.update(store, changes) }
  }

  /// Makes the registry documents from the index, and once more when the index moved on meanwhile: else the last of two
  /// writers could leave documents of an older index, which the newer one's note calls up to date.
  ///
  /// A run that is killed between its documents and that second look could leave the same behind. So the journal knows
  /// from before the first document until after the last look, and the next run trusts no note.
  private func regenerate(_ index: MetadataIndex, _ outcome: inout Outcome) async throws {
    let isInterrupted = journal?.isListing(store.url) ?? false
    if !isInterrupted, index.registryInputs == index.inputs(publicURL: publicURL) { return }
    try journal?.noteListing(store.url, isDone: false)
    var index = index
    let before = outcome.problems
    for _ in 0..<4 {
      outcome.problems = before
      try await writeDocuments(of: index, &outcome)
      let inputs = index.inputs(publicURL: publicURL)
      index = try await MetadataIndex.read(from: store)
      guard index.inputs(publicURL: publicURL) == inputs else { continue }
      // Only what the documents say is noted: with a problem, the next run tries again.
      if outcome.problems.isEmpty, index.registryInputs != inputs {
        index.registryInputs = inputs
        try await store.write(index.encoded, to: try MetadataPath(MetadataIndex.path), contentType: "application/json")
      }
      try journal?.noteListing(store.url, isDone: true)
      return
    }
  }

  private func writeDocuments(of index: MetadataIndex, _ outcome: inout Outcome) async throws {
    var connectors: [PublishedConnector] = []
    for result in try await reading(
      index.repositories, { try await connector($0, index.connectors[$0]?.entries ?? [:]) })
    {
      switch result {
      case .success(let connector): if let connector { connectors.append(connector) }
      case .failure(let problem): outcome.problems.append(problem)
      }
    }
    outcome.connectors = connectors.count
    let images = ConnectorRegistry.overriddenImages(connectors)
    let specs = try await reading(
      images,
      { image -> Result<JSON?, Diagnostic> in
        guard let folder = try? MetadataUpload.folder(image.repository, image.tag),
          let path = try? MetadataPath("\(folder)/\(MetadataFiles.specName)")
        else { return .success(nil) }
        return .success(try await store.read(path, limit: FileMetadataStore.limit).flatMap(JSON.init(decoding:)))
      })
    var known: [ConnectorRegistry.ImageName: JSON] = [:]
    for (image, result) in zip(images, specs) {
      if case .success(let spec?) = result { known[image] = spec }
    }
    let registry = ConnectorRegistry(connectors, specs: known, publicURL: publicURL)
    for name in ConnectorRegistry.Name.allCases {
      let (bytes, problems) = registry.document(name)
      outcome.problems += problems
      if try await store.writeIfChanged(bytes, to: try MetadataPath(name.path), contentType: "application/json") {
        if !outcome.written.contains(name.path) { outcome.written.append(name.path) }
      }
    }
  }

  /// A connector as the index has it, from the folders of its versions; `nil` without a release.
  private func connector(_ repository: String, _ entries: [MetadataChannel: MetadataIndex.Entry]) async throws
    -> Result<PublishedConnector?, Diagnostic>
  {
    guard let latest = entries[.latest] else { return .success(nil) }
    do throws(Diagnostic) {
      var connector = PublishedConnector(repository: repository, latest: try await version(repository, latest))
      if let candidate = entries[.releaseCandidate] { connector.candidate = try await version(repository, candidate) }
      return .success(connector)
    } catch {
      var problem = error
      problem.severity = .warning
      return .failure(problem)
    }
  }

  private func version(_ repository: String, _ entry: MetadataIndex.Entry) async throws(Diagnostic)
    -> PublishedConnector.Version
  {
    let folder: MetadataPath
    let (metadata, spec, dependencies): ([UInt8]?, [UInt8]?, [UInt8]?)
    do {
      folder = try MetadataUpload.folder(repository, entry.version)
      metadata = try await read(folder, MetadataFiles.metadataName)
      spec = try await read(folder, MetadataFiles.specName)
      dependencies =
        entry.extras.contains(MetadataFiles.dependenciesName)
        ? try await read(folder, MetadataFiles.dependenciesName) : nil
    } catch let error as Diagnostic {
      throw error
    } catch {
      throw .error("cannot read `\(store.url)`: \(error)", cause: .environment)
    }
    let name = "\(store.url)/\(folder)"
    guard let metadata else { throw .error("`\(name)` has no metadata", cause: .environment) }
    let document = try YAMLParser.parse(
      SourceText(file: "\(name)/\(MetadataFiles.metadataName)", bytes: metadata, role: .data))
    guard let data = document["data"].flatMap({ JSON(decoding: Array($0.jsonText().utf8)) }) else {
      throw .error("`\(name)/\(MetadataFiles.metadataName)` has no `data`", cause: .environment)
    }
    guard let json = spec.flatMap(JSON.init(decoding:)) else {
      throw .error("`\(name)` has no specification", cause: .environment)
    }
    return PublishedConnector.Version(
      data: data, spec: json, hasIcon: entry.extras.contains(MetadataFiles.iconName),
      cdkVersion: dependencies.flatMap(JSON.init(decoding:)).flatMap(Self.cdkVersion))
  }

  private func read(_ folder: MetadataPath, _ name: String) async throws -> [UInt8]? {
    try await store.read(try MetadataPath("\(folder)/\(name)"), limit: FileMetadataStore.limit)
  }

  private static func cdkVersion(_ dependencies: JSON) -> String? {
    dependencies["dependencies"]?.array?.first { $0["package_name"]?.string == "airbyte-cdk" }?["version"]?.string
  }

  /// Reads for each element, several at once; the results in order.
  private func reading<Element: Sendable, Value: Sendable>(
    _ elements: [Element], _ body: @escaping @Sendable (Element) async throws -> Result<Value, Diagnostic>
  ) async throws -> [Result<Value, Diagnostic>] {
    try await withThrowingTaskGroup(of: Numbered<Value>.self) { group in
      var results: [Numbered<Value>] = []
      for (index, element) in elements.enumerated() {
        if index >= width, let result = try await group.next() { results.append(result) }
        group.addTask { Numbered(index: index, result: try await body(element)) }
      }
      for try await result in group { results.append(result) }
      return results.sorted { $0.index < $1.index }.map(\.result)
    }
  }

  /// No tuple, as in `PublishSurvey`.
  private struct Numbered<Value: Sendable>: Sendable {
    var index: Int
    var result: Result<Value, Diagnostic>
  }
}
