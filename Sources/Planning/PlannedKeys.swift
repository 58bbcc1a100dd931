import Digests
import Files
import Graph
import Manifests

/// What each target of a source tree comes from, before anything has run: equal planned keys mean equal action keys.
///
/// A key covers the rules' format, the decoded attributes, the files that the target reads, and the planned keys of what
/// it depends on. It depends on the source tree alone: never on a cache, the network, the clock or the machine's state.
package struct PlannedKeys: Sendable {
  /// What of a target's key is its own.
  package struct Own: Hashable, Sendable {
    package var attributes: Fingerprint
    /// Of the files that the target reads itself, and the names of those.
    package var sources: Fingerprint

    init(_ target: Target, content: (WorkspacePath) -> Fingerprint?, bundled: (String) -> [UInt8]?) {
      let attributes = FingerprintHasher()
      attributes.update(target.declaration.canonicalText)
      self.attributes = attributes.finish()
      let sources = FingerprintHasher()
      for path in target.files {
        sources.update(path.string)
        guard let found = content(path) else { continue }
        withUnsafeBytes(of: found) { sources.update($0) }
      }
      for input in target.inputs {
        guard case .bundled(let path) = input.source, let bytes = bundled(path) else { continue }
        sources.update(path)
        bytes.withUnsafeBytes { sources.update($0) }
      }
      self.sources = sources.finish()
    }
  }

  /// One target's key, and its own part of it.
  package struct Entry: Hashable, Sendable {
    package var key: Fingerprint
    package var own: Own
  }

  package private(set) var entries: [Label: Entry] = [:]

  private static let format: UInt64 = 1

  /// - Parameters:
  ///   - platform: What the plan was loaded for.
  ///   - content: Of a source file: its mode class and content; `nil` where the tree has none.
  ///   - bundled: The bytes of a file that ships with Slipway.
  package init(
    _ plan: Plan, platform: String, content: (WorkspacePath) -> Fingerprint?, bundled: (String) -> [UInt8]?
  ) {
    let graph = plan.graph
    entries.reserveCapacity(graph.nodes.count)
    var keys = [Fingerprint?](repeating: nil, count: graph.nodes.count)
    for index in graph.topologicalOrder {
      let node = graph.nodes[index]
      guard let target = plan.targets[node.label] else { continue }
      let own = Own(target, content: content, bundled: bundled)
      let key = Self.key(of: node.label, own, node.dependencies, platform: platform) { label in
        graph.index(of: label).flatMap { keys[$0] }
      }
      keys[index] = key
      entries[node.label] = Entry(key: key, own: own)
    }
  }

  /// - Parameter known: The keys of what it depends on.
  static func key(
    of label: Label, _ own: Own, _ edges: [GraphEdge], platform: String, known: (Label) -> Fingerprint?
  ) -> Fingerprint {
    let hasher = FingerprintHasher()
    hasher.update(Self.format)
    hasher.update(ActionDescription.format)
    hasher.update(platform)
    hasher.update(label.description)
    withUnsafeBytes(of: own.attributes) { hasher.update($0) }
    withUnsafeBytes(of: own.sources) { hasher.update($0) }
    for edge in edges {
      hasher.update(edge.role.rawValue)
      hasher.update(edge.target.description)
      hasher.update(edge.output ?? "")
      // What only orders or decides whether it runs is not what a target comes from.
      guard edge.role != .needs, edge.role != .when, let key = known(edge.target) else { continue }
      withUnsafeBytes(of: key) { hasher.update($0) }
    }
    return hasher.finish()
  }
}

extension Target {
  /// The source files that it reads itself, sorted; some may not be there.
  package var files: [WorkspacePath] {
    var files = sources
    for input in inputs { if case .files(let found) = input.source { files += found.map(\.path) } }
    if let rootfs = declaration.rootfs {
      if let keyring = rootfs.keyring { files.append(label.package.appending(keyring.value)) }
      // Of several platforms each has one: `os.lock`, `os.arm64.lock`.
      if let lock = rootfs.lock {
        files.append(label.package.appending(lock.value))
        files += declaration.platforms.map { RootFileSystem.lock(lock.value, for: $0.value, of: label.package) }
      }
    }
    if rule == .publish {
      files.append(label.package.appending("icon.svg"))
      if let page = label.package.documentationPage { files.append(page) }
    }
    return Set(files).sorted()
  }
}

extension RootFileSystem {
  /// The lock of one platform of several: `os.arm64.lock` beside `os.amd64.lock`.
  package static func lock(_ lock: String, for platform: String, of package: WorkspacePath) -> WorkspacePath {
    let name = platform.split(separator: "/").dropFirst().joined(separator: "-")
    let path = package.appending(lock)
    guard let dot = path.name.lastIndex(of: "."), dot != path.name.startIndex else {
      return package.appending("\(lock).\(name)")
    }
    return package.appending("\(lock.dropLast(path.name[dot...].count)).\(name)\(path.name[dot...])")
  }
}

extension WorkspacePath {
  /// Where Airbyte's repository has the page of a connector's documentation; `nil` for what is named like none.
  package var documentationPage: WorkspacePath? {
    for (prefix, folder) in [("source-", "sources"), ("destination-", "destinations")] where name.hasPrefix(prefix) {
      return WorkspacePath("docs/integrations/\(folder)/\(name.dropFirst(prefix.count)).md")
    }
    return nil
  }
}
