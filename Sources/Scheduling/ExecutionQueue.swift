/// Misses that wait for their share of the machine, and what the running ones have taken of it.
///
/// Greedy: whatever fits is started, the longest critical path first. A large execution may so be overtaken by
/// small ones behind it; in exchange the machine never idles while something could run. Nodes of equal needs share
/// a heap, so that a start costs time for each distinct need and not for each waiting node.
struct ExecutionQueue {
  private struct Shape {
    var resources: Resources
    /// It wants more than the machine has: it runs when nothing else does.
    var exclusive: Bool
    var heap = Heap()
  }

  private let capacity: Resources
  private let jobs: Int
  private var shapes: [Shape] = []
  private var shapeIndex: [Resources: Int] = [:]
  private(set) var count = 0
  private(set) var used = Resources.none
  private(set) var running = 0
  private var exclusiveRuns = false

  init(capacity: Resources, jobs: Int) {
    self.capacity = capacity
    self.jobs = max(1, jobs)
  }

  mutating func insert(_ id: Int, _ resources: Resources, priority: Double) {
    let index = shapeIndex[resources] ?? shapes.count
    if index == shapes.count {
      shapeIndex[resources] = index
      shapes.append(Shape(resources: resources, exclusive: !resources.fits(beside: .none, in: capacity)))
    }
    shapes[index].heap.insert(id, priority: priority)
    count += 1
  }

  /// The next execution that fits, taken out, its resources taken; `nil` when none fits.
  mutating func startNext() -> Int? {
    guard count > 0, running < jobs, !exclusiveRuns else { return nil }
    var best: (shape: Int, id: Int, priority: Double)?
    for (index, shape) in shapes.enumerated() {
      guard let first = shape.heap.first else { continue }
      guard shape.exclusive ? running == 0 : shape.resources.fits(beside: used, in: capacity) else { continue }
      if let found = best {
        guard first.priority > found.priority || (first.priority == found.priority && first.id < found.id) else {
          continue
        }
      }
      best = (index, first.id, first.priority)
    }
    guard let best, let id = shapes[best.shape].heap.popFirst() else { return nil }
    count -= 1
    running += 1
    if shapes[best.shape].exclusive { exclusiveRuns = true } else { used += shapes[best.shape].resources }
    return id
  }

  /// Gives back what a running execution of these needs had taken.
  mutating func finish(_ resources: Resources) {
    running -= 1
    if exclusiveRuns { exclusiveRuns = false } else { used -= resources }
  }

  /// Forgets those that wait.
  mutating func removeAll() {
    for index in shapes.indices { shapes[index].heap = Heap() }
    count = 0
  }
}
