/// Misses that wait for their share of the machine, and what the running ones have taken of it.
///
/// What may run elsewhere does so as long as a slot there is free, and else takes its share here; but one job here is kept
/// for what can run nowhere else: an image of a twentieth of a second would wait for tests of minutes, and others for it.
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
    var heap = Heap()
  }

  private let capacity: Resources
  private struct ShapeKey: Hashable {
    var resources: Resources
    var mayRunElsewhere: Bool
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

  init(capacity: Resources, jobs: Int, slots: Int = 0) {
    self.capacity = capacity
    self.jobs = max(1, jobs)
    self.slots = max(0, slots)
  }

  mutating func insert(_ id: Int, _ resources: Resources, mayRunElsewhere: Bool = false, priority: Double) {
    let key = ShapeKey(resources: resources, mayRunElsewhere: mayRunElsewhere && slots > 0)
    let index = shapeIndex[key] ?? shapes.count
    if index == shapes.count {
      shapeIndex[key] = index
      shapes.append(
        Shape(
          resources: resources, exclusive: !resources.fits(beside: .none, in: capacity),
          mayRunElsewhere: key.mayRunElsewhere))
    }
    shapes[index].heap.insert(id, priority: priority)
    count += 1
  }

  /// The next execution that fits, taken out, its resources or its slot taken; `nil` when none fits.
  ///
  /// - Parameter takesGuests: Whether what may run elsewhere may run here too.
  mutating func startNext(takesGuests: Bool = true) -> (id: Int, place: Scheduler.Place)? {
    let hasRoom = running < jobs && !exclusiveRuns
    guard count > 0, hasRoom || runningElsewhere < slots else { return nil }
    var best: (shape: Int, id: Int, priority: Double)?
    for (index, shape) in shapes.enumerated() {
      guard let first = shape.heap.first else { continue }
      let isGuest = shape.mayRunElsewhere
      let fitsHere =
        hasRoom && (!isGuest || takesGuests && guests < jobs - 1)
        && (shape.exclusive ? running == 0 : shape.resources.fits(beside: used, in: capacity))
      guard fitsHere || (shape.mayRunElsewhere && runningElsewhere < slots) else { continue }
      if let found = best {
        guard first.priority > found.priority || (first.priority == found.priority && first.id < found.id) else {
          continue
        }
      }
      best = (index, first.id, first.priority)
    }
    guard let best, let id = shapes[best.shape].heap.popFirst() else { return nil }
    count -= 1
    if shapes[best.shape].mayRunElsewhere, runningElsewhere < slots {
      runningElsewhere += 1
      return (id, .elsewhere)
    }
    running += 1
    if shapes[best.shape].mayRunElsewhere { guests += 1 }
    if shapes[best.shape].exclusive { exclusiveRuns = true } else { used += shapes[best.shape].resources }
    return (id, shapes[best.shape].mayRunElsewhere ? .asGuest : .here)
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
    count = 0
  }
}
