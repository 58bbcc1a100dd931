extension Scheduler {
  /// One target as the scheduler sees it; others are named by their index.
  package struct Node: Hashable, Sendable {
    /// Whose outputs it reads. One that does not succeed makes this one be skipped.
    package var dependencies: [Int]
    /// `needs:`: what must have succeeded before. One that does not succeed makes this one be skipped.
    package var needs: [Int]
    /// What must have ended before, in whatever way: the members of a suite.
    package var after: [Int]
    package var when: Condition?
    /// The expected seconds of its execution.
    package var cost: Double
    package var resources: Resources
    /// An engine can execute it as well.
    package var mayRunElsewhere = false

    package init(
      dependencies: [Int] = [], needs: [Int] = [], after: [Int] = [], when: Condition? = nil, cost: Double = 0,
      resources: Resources = .none
    ) {
      self.dependencies = dependencies
      self.needs = needs
      self.after = after
      self.when = when
      self.cost = cost
      self.resources = resources
    }
  }

  package enum Condition: Hashable, Sendable {
    /// `when: {failed: L}`: runs if and only if L failed.
    case failed(Int)
    /// `when: {affected: L}` where L is not affected: it is skipped, and nothing is built for its sake.
    case unaffected
  }

  /// Where an execution runs.
  package enum Place: Hashable, Sendable {
    /// On this machine.
    case here
    /// On this machine, though it could run in a slot of an engine.
    case asGuest
    /// In a slot of an engine.
    case elsewhere
  }

  package enum SkipReason: Hashable, Sendable {
    /// Dependencies could not be built, because these failed: the root failures, lowest id first, at most
    /// `maximumRoots` of them.
    case failed(roots: [Int])
    /// This one of `needs:`, the lowest id, did not succeed.
    case needs(Int)
    /// `when: {failed: L}`, and L did not fail.
    case notFailed(Int)
    /// `when: {affected: L}`, and L is not affected.
    case unaffected
    /// This dependency, the lowest id, was skipped, though nothing failed.
    case dependencySkipped(Int)
    /// The caller reported it as skipped.
    case reported
  }

  package enum State: Hashable, Sendable {
    /// Nothing that was wanted depends on it.
    case unwanted
    /// Something that it depends on has not ended.
    case waiting
    /// It can be evaluated.
    case ready
    /// Handed out by `start`: the caller computes its key and looks it up.
    case evaluating
    /// A miss, waiting for its share of the machine.
    case queued
    /// Handed out by `startExecutions`.
    case running
    case succeeded
    case failed
    case skipped(SkipReason)
    /// Stopped, or never started, because of `cancel` or of an earlier failure without keep-going.
    case cancelled
  }

  /// How an evaluation or an execution ended.
  package enum Outcome: Hashable, Sendable {
    case succeeded, failed, skipped, cancelled
  }

  /// Nodes that wait for each other: each depends on the next, the last on the first.
  package struct Cycle: Error, Hashable {
    package var nodes: [Int]
  }

  /// `State` without its payload.
  package enum Phase: UInt8, CaseIterable, Sendable {
    case unwanted, waiting, ready, evaluating, queued, running, succeeded, failed, skipped, cancelled

    package var isFinal: Bool { self >= .succeeded }

    /// Whether the drawing at `Scheduler` has this arrow.
    func leads(to next: Phase) -> Bool {
      switch self {
      case .unwanted: next == .waiting
      case .waiting: next == .ready || next == .skipped || next == .cancelled
      case .ready: next == .evaluating || next == .cancelled
      case .evaluating: next == .queued || next.isFinal
      case .queued: next == .running || next == .cancelled
      case .running: next.isFinal
      case .succeeded, .failed, .skipped, .cancelled: false
      }
    }
  }
}

extension Scheduler.SkipReason {
  /// In a few words: `needs //a:b`, `//a:b and //c:d failed`.
  package func text(label: (Int) -> String) -> String {
    switch self {
    case .failed(let roots):
      let names = roots.map(label)
      guard let last = names.last, names.count > 1 else { return "\(names.first ?? "a dependency") failed" }
      return "\(names.dropLast().joined(separator: ", ")) and \(last) failed"
    case .needs(let id): return "needs \(label(id))"
    case .notFailed(let id): return "\(label(id)) did not fail"
    case .unaffected: return "not affected"
    case .dependencySkipped(let id): return "\(label(id)) was skipped"
    case .reported: return "skipped"
    }
  }
}

extension Scheduler.Phase: Comparable {
  package static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }
}
