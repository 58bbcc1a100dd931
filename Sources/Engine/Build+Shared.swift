import Caching
import Digests
import Graph
import Manifests
import Planning

/// What ended beside the walk.
enum Step: Sendable {
  case looked(LookUp)
  case executed(Execution)
  /// It is time to see what waits.
  case watched
}

/// An answer of the remote tier.
struct LookUp: Sendable {
  var node: Int
  /// With its request, if that could be made.
  var work: Work
  var answer: SharedLookup
  /// Its key's record is in the local tier already; only bytes were missing.
  var isRecorded = false
}

/// Bytes that an execution reads are neither here nor elsewhere any more: what made them has to run again.
struct LostInputs: Error {}

extension Build {
  /// Whether a hit must bring the bytes of its outputs along.
  func mustBeLocal(_ target: Target) -> Bool {
    if options.junitFolder != nil, target.rule == .test { return true }
    switch options.download {
    case .all: return true
    // A suite is asked for because of its tests: their logs.
    case .requested: return outcome.wanted.contains(target.label) || target.rule == .test
    case .none: return false
    }
  }

  /// Asks the remote tier for the result of a local miss.
  ///
  /// - Parameter recorded: The local tier's own record, whose blobs are not all here.
  static func lookUp(
    _ node: Int, _ work: Work, recorded: ActionRecord?, bringsBytes: Bool, _ shared: any SharedResults,
    _ watch: LookUpWatch
  ) async -> LookUp {
    var result = LookUp(node: node, work: work, answer: .miss(nil), isRecorded: recorded != nil)
    let store = work.actions.store
    result.work.request = await request(work, shared)
    if let recorded {
      result.answer = .hit(recorded)
    } else if !work.ignoresCache, let request = result.work.request {
      result.answer = await shared.lookup(request, into: store)
    }
    if case .miss("not reached") = result.answer {
      watch.answered(node, isReached: false)
    } else {
      watch.answered(node, isReached: true)
    }
    // Whoever asks for a new verdict gives it to others all the same.
    if work.ignoresCache { result.answer = .miss(nil) }
    guard case .hit(let record) = result.answer else { return result }
    if let freshness = work.freshness, !record.isFresh(at: CommandExecution.now(), within: freshness) {
      result.answer = .miss("older than its freshness")
    } else if bringsBytes,
      await !shared.fetch(record.artifacts, into: store, insteadOf: Double(record.duration) / 1000)
    {
      result.answer = .miss("its bytes are gone, or take longer to bring than to make")
    }
    return result
  }

  private static func request(_ work: Work, _ shared: any SharedResults) async -> SharedRequest? {
    if let request = try? work.sharedRequest() { return request }
    // A folder that others are merged into has to be read for that. An edited source is seen by the execution.
    guard await shared.fetch(work.needs, into: work.actions.store, insteadOf: nil) else { return nil }
    return try? work.sharedRequest()
  }

  // MARK: Lost bytes

  /// Runs again what made the bytes that `id`, a dependent, lacks; the dependent is prepared anew when all are there.
  ///
  /// - Returns: Work to execute now; nil when nothing explains what is missing.
  func recover(_ id: Int) -> [(node: Int, work: Work)]? {
    recoveries[id, default: 0] += 1
    guard recoveries[id, default: 0] <= 3 else { return nil }
    guard let dependent = plan.targets[plan.graph.nodes[id].label], let needs = try? prepare(dependent).needs else {
      return nil
    }
    let lacking = needs.filter { store.firstMissing(of: $0) != nil }
    var producers: Set<Int> = []
    var works: [(node: Int, work: Work)] = []
    for edge in plan.graph.nodes[id].dependencies {
      guard let producer = plan.graph.index(of: edge.target), let target = plan.targets[edge.target],
        (planner.outputs[edge.target] ?? []).contains(where: { explains(lacking, $0.artifact) })
      else { continue }
      producers.insert(producer)
      guard awaited[producer] == nil else { continue }
      guard var work = try? prepare(target) else { return nil }
      work.ignoresCache = true
      works.append((producer, work))
    }
    if producers.isEmpty { return nil }
    for producer in producers { awaited[producer, default: []].insert(id) }
    return works
  }

  /// Whether bytes that are lacking may be those of an output.
  private func explains(_ lacking: [Artifact], _ output: Artifact) -> Bool {
    guard store.firstMissing(of: output) != nil else { return false }
    guard case .image(let image) = output else { return true }
    // Whoever runs in an image needs its layers alone, and those that are unpacked not even packed.
    return lacking.contains { need in
      switch need {
      case .image: true
      case .file(let file): image.layers.contains { $0.digest == file.digest }
      case .directory: false
      }
    }
  }

  /// Takes in what a producer gave when it ran again; gives the dependents that lack nothing more.
  func recovered(_ producer: Int, _ record: ActionRecord) -> [Int] {
    let label = plan.graph.nodes[producer].label
    planner.outputs[label] = record.outputs
    let dependents = awaited.removeValue(forKey: producer) ?? []
    return dependents.filter { id in !awaited.values.contains { $0.contains(id) } }.sorted()
  }
}
