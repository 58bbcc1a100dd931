import Caching
import Manifests
import Planning
import Scheduling

/// Answers of the remote tier that nobody waited for.
extension Build {
  func take(_ lookUp: LookUp, _ target: Target, _ scheduler: inout Scheduler) {
    guard case .hit(var record) = lookUp.answer else { return }
    if !lookUp.isRecorded {
      record.explanation = lookUp.work.key.explanation
      // A full disk costs the next build a question.
      try? actions.store(record)
    }
    take(record, lookUp.node, target, lookUp.isRecorded ? .hitLocal : .hitRemote, &scheduler)
  }

  /// Executes what the remote tier was asked about, beside the question.
  func hedge(_ id: Int, _ scheduler: inout Scheduler) {
    guard !options.isDryRun, let work = asked[id], let target = plan.targets[plan.graph.nodes[id].label] else { return }
    hedged[id] = .some(nil)
    do {
      try miss(id, target, work, "\(reasons[id] ?? ""); remote: no answer yet", &scheduler)
    } catch {
      hedged[id] = nil
      fail(id, target, error, &scheduler)
    }
  }

  /// Executes beside the walk; what the remote tier may still answer for can be stopped alone.
  func execution(of id: Int, _ work: Work) -> @Sendable () async -> Step {
    guard hedged[id] != nil else { return { .executed(await Self.execute(id, work)) } }
    let execution = Self.started(id, work)
    hedged[id] = .some(execution)
    return { await Self.ended(execution) }
  }

  private static func started(_ id: Int, _ work: Work) -> Task<Execution, Never> { Task { await execute(id, work) } }

  private static func ended(_ execution: Task<Execution, Never>) async -> Step {
    await withTaskCancellationHandler {
      .executed(await execution.value)
    } onCancel: {
      execution.cancel()
    }
  }
}
