/// Misses that wait for their share of the machine, and what the running ones have taken of it.
///
/// What may run elsewhere does so as long as a slot there is free, and else takes its share here; but one job here is kept
/// for what can run nowhere else, until all of that is done: an image of a twentieth of a second would wait for tests of
/// minutes, and others for it. Where this machine is what all wait for, what leads to its work goes to the engine first.
/// What this machine would have done before an engine begins it is not given away.
///
/// Greedy: whatever fits is started, the longest critical path first. A large execution may so be overtaken by
/// small ones behind it; in exchange the machine never idles while something could run. Nodes of equal needs share
/// a heap, so that a start costs time for each distinct need and not for each waiting node.
struct ExecutionQueue {
  private struct Shape {
    var resources: Resources
    /// It wants more than the machine has: it runs when nothing else does.
    var exclusive: Bool
    var mayRunElsewhere: Bool
    var feedsThisMachine: Bool
    var heap = Heap()
  }

  private let capacity: Resources
  private struct ShapeKey: Hashable {
    var resources: Resources
    var mayRunElsewhere: Bool
    var feedsThisMachine: Bool
  }

  private let jobs: Int
  /// Slots of other machines.
  private let slots: Int
  private var shapes: [Shape] = []
  private var shapeIndex: [ShapeKey: Int] = [:]
  private(set) var count = 0
  private(set) var used = Resources.none
  private(set) var running = 0
  private(set) var runningElsewhere = 0
  /// Those of `running` that could run elsewhere.
  private var guests = 0
  private var exclusiveRuns = false
  /// Waiting, and able to run elsewhere.
  private var waitingGuests = 0
  /// What could have gone to the engine, from start to end.
  private var guestSeconds = MovingAverage()
  private var there = EnginePace()

  private struct EnginePace {
    /// What a command takes there.
    var running = MovingAverage()
    /// What goes by beside that until it has ended here.
    var overhead = MovingAverage()
    /// Between two ends, while it is never idle.
    var interval = MovingAverage()
    var lastEnd: Double?

    /// Until it begins what it is given next: as long as the last ones waited, or longer, by Little's law, where more are
    /// before it than were before them.
    func secondsToBegin(behind count: Int) -> Double? {
      guard let overhead = overhead.value else { return nil }
      guard let interval = interval.value, let running = running.value else { return overhead }
      return max(overhead, Double(count) * interval - running)
    }
  }

  init(capacity: Resources, jobs: Int, slots: Int = 0) {
    self.capacity = capacity
    self.jobs = max(1, jobs)
    self.slots = max(0, slots)
  }

  mutating func insert(
    _ id: Int, _ resources: Resources, mayRunElsewhere: Bool = false, feedsThisMachine: Bool = false, priority: Double
  ) {
    let isGuest = mayRunElsewhere && slots > 0
    let key = ShapeKey(
      resources: resources, mayRunElsewhere: isGuest, feedsThisMachine: isGuest && feedsThisMachine)
    let index = shapeIndex[key] ?? shapes.count
    if index == shapes.count {
      shapeIndex[key] = index
      shapes.append(
        Shape(
          resources: resources, exclusive: !resources.fits(beside: .none, in: capacity),
          mayRunElsewhere: isGuest, feedsThisMachine: key.feedsThisMachine))
    }
    shapes[index].heap.insert(id, priority: priority)
    count += 1
    if isGuest { waitingGuests += 1 }
  }

  /// Whether all that could go to the engine would be done here before the engine had begun one more.
  private var isSoonerHere: Bool {
    guard let here = guestSeconds.value, let there = there.secondsToBegin(behind: runningElsewhere) else {
      return false
    }
    return here * (1 + Double(waitingGuests + guests) / Double(jobs)) < there
  }

  /// The next execution that fits, taken out, its resources or its slot taken; `nil` when none fits.
  ///
  /// - Parameters:
  ///   - takesGuests: Whether what may run elsewhere may run here too.
  ///   - keepsJob: Whether one job is kept for what may not.
  ///   - left: Seconds that this machine needs for what only it can do. What leads to that is as urgent as all of it.
  mutating func startNext(
    takesGuests: Bool = true, keepsJob: Bool = true, left: Double = 0
  ) -> (id: Int, place: Scheduler.Place)? {
    let hasRoom = running < jobs && !exclusiveRuns
    guard count > 0, hasRoom || runningElsewhere < slots else { return nil }
    let guestJobs = takesGuests ? (keepsJob ? jobs - 1 : jobs) : 0
    let hasSlot = runningElsewhere < slots && !(guestJobs > 0 && isSoonerHere)
    var best: (shape: Int, id: Int, urgency: Double)?
    for (index, shape) in shapes.enumerated() {
      guard let first = shape.heap.first else { continue }
      let isGuest = shape.mayRunElsewhere
      let fitsHere =
        hasRoom && (!isGuest || guests < guestJobs)
        && (shape.exclusive ? running == 0 : shape.resources.fits(beside: used, in: capacity))
      guard fitsHere || isGuest && (hasSlot || shape.exclusive && runningElsewhere < slots) else { continue }
      let urgency = shape.feedsThisMachine ? max(first.priority, left) : first.priority
      if let found = best {
        guard urgency > found.urgency || (urgency == found.urgency && first.id < found.id) else { continue }
      }
      best = (index, first.id, urgency)
    }
    guard let best, let id = shapes[best.shape].heap.popFirst() else { return nil }
    count -= 1
    if shapes[best.shape].mayRunElsewhere { waitingGuests -= 1 }
    if shapes[best.shape].mayRunElsewhere, hasSlot || shapes[best.shape].exclusive && runningElsewhere < slots {
      runningElsewhere += 1
      return (id, .elsewhere)
    }
    running += 1
    if shapes[best.shape].mayRunElsewhere { guests += 1 }
    if shapes[best.shape].exclusive { exclusiveRuns = true } else { used += shapes[best.shape].resources }
    return (id, shapes[best.shape].mayRunElsewhere ? .asGuest : .here)
  }

  /// Learns from one that is about to be given back: its seconds from start to end, those that its command ran, and when
  /// that was.
  mutating func measured(_ seconds: Double, running: Double, at now: Double, _ place: Scheduler.Place) {
    switch place {
    case .here: break
    case .asGuest: guestSeconds.add(seconds)
    case .elsewhere:
      there.running.add(running)
      there.overhead.add(max(0, seconds - running))
      if let last = there.lastEnd { there.interval.add(now - last) }
      there.lastEnd = runningElsewhere > 1 ? now : nil
    }
  }

  /// Gives back what a running execution of these needs had taken.
  mutating func finish(_ resources: Resources, at place: Scheduler.Place) {
    if place == .elsewhere {
      runningElsewhere -= 1
      return
    }
    running -= 1
    if place == .asGuest { guests -= 1 }
    if exclusiveRuns { exclusiveRuns = false } else { used -= resources }
  }

  /// Forgets those that wait.
  mutating func removeAll() {
    for index in shapes.indices { shapes[index].heap = Heap() }
    (count, waitingGuests) = (0, 0)
  }
}

/// Of seconds; what was last counts a quarter.
struct MovingAverage {
  private(set) var value: Double?

  mutating func add(_ next: Double) { value = value.map { $0 + (next - $0) / 4 } ?? next }
}
