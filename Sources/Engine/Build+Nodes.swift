import Distribution
import Graph
import Manifests
import Planning
import Scheduling

/// The walk as the scheduler sees it.
extension Build {
  /// With an engine, `--jobs` is how many it is given at once.
  var jobs: Int { options.jobs > 0 && engine == nil ? options.jobs : Host.cores }

  var slots: Int { engine == nil ? 0 : options.jobs > 0 ? options.jobs : Self.defaultSlots }

  /// What it does not run at once waits there for its turn.
  private static let defaultSlots = 64

  static var capacity: Scheduling.Resources {
    Scheduling.Resources(cpu: Host.cores * 1000, memory: Host.memory)
  }

  func node(_ index: Int) -> Scheduler.Node {
    let graph = plan.graph
    guard let target = plan.targets[graph.nodes[index].label] else { return Scheduler.Node() }
    var node = Scheduler.Node()
    for edge in graph.nodes[index].dependencies {
      guard let other = graph.index(of: edge.target) else { continue }
      switch edge.role {
      case .needs: node.needs.append(other)
      case .test: node.after.append(other)
      case .when: if case .failed? = target.when { node.when = .failed(other) }
      default: node.dependencies.append(other)
      }
    }
    let own = target.declaration.resources
    let general = workspace.settings.defaults[target.rule] ?? Manifests.Resources()
    if case .affected(let other)? = target.when, let affected = options.affected,
      !affected.contains(other.withoutPlatform)
    {
      node.when = .unaffected
    }
    if target.rule.runsCommand || target.rule == .rootfs || target.rule == .image {
      node.resources = Scheduling.Resources(
        cpu: Int((own.cpu ?? general.cpu ?? 1) * 1000), memory: own.memory ?? general.memory ?? 256 << 20)
      node.mayRunElsewhere = engine?.takes(target, pulled: imageSource(of: target) != nil) ?? false
      node.cost = history.seconds(of: target.label) ?? 1
    }
    return node
  }

  /// Where the image that a command runs in comes from, if it is pulled and somebody else may pull it.
  func imageSource(of target: Target) -> Reference? {
    guard engine != nil, let label = target.image?.label, let pull = plan.targets[label], pull.rule == .pull else {
      return nil
    }
    return (pull.declaration.image?.value).flatMap { try? Reference($0) }
  }
}
