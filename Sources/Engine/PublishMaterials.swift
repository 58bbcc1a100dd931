import Caching
import Diagnostics
import Digests
import Distribution
import Files
import Graph
import Manifests
import Planning
import Publishing

/// What the images of one publish were made from, as their provenance tells it.
///
/// An image's digest knows nothing of this: the same sources give the same image at any commit. Once a version is out,
/// publishing it from another commit pushes nothing, so its provenance stays that of the build that it came from.
struct PublishMaterials: Sendable {
  private let plan: Plan
  private let revision: SourceRevision?
  /// The package of each changed file; files of no package that counts are `nil`.
  private let changed: [(path: WorkspacePath, package: WorkspacePath?)]
  /// Settings and kinds: they count for every image.
  private let settings: Set<WorkspacePath>

  /// Looks at the commit and at what differs from it.
  ///
  /// - Throws: A diagnostic when git fails.
  init(_ workspace: Workspace, _ plan: Plan) throws {
    self.plan = plan
    revision = try SourceRevision(of: workspace.root)
    changed = (revision?.changed ?? []).map { ($0, workspace.tree.package(containing: $0)) }
    settings = Set(workspace.sources.compactMap { $0.file.hasPrefix("@") ? nil : WorkspacePath($0.file) })
  }

  /// - Parameters:
  ///   - image: An image target.
  ///   - base: What its base gave, if that is a target of the workspace.
  func dependencies(of image: Label, base: Digest?) -> [Provenance.Dependency] {
    var found: [Provenance.Dependency] = []
    let labels = plan.graph.index(of: image).map { plan.graph.closure(of: [$0]) } ?? []
    let targets = labels.compactMap { plan.targets[plan.graph.nodes[$0].label] }
    for target in targets where target.rule == .pull {
      guard let reference = try? Reference(target.declaration.image?.value ?? ""), let digest = reference.digest else {
        continue
      }
      found.append(.image(reference.description, digest))
    }
    if let label = plan.targets[image]?.image?.label, plan.targets[label]?.rule != .pull, let base {
      found.append(.target(label.description, base))
    }
    if let revision {
      // Of others' files not even the names are anybody's business.
      let packages = Set(targets.map(\.label.package))
      let own = changed.filter { packages.contains($0.package ?? .root) || settings.contains($0.path) }
      found.append(
        .commit(revision.commit, remote: revision.remote, changed: own.map { revision.prefix + $0.path.string }))
    }
    return found
  }
}
