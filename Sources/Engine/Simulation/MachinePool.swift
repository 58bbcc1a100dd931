/// Machines that take tasks in the order in which commits arrive.
struct MachinePool {
  struct Task {
    var seconds: Double
    /// Positions of tasks before it in the same run that have to end first.
    var dependencies: [Int] = []
  }

  /// When each machine has nothing left to do, the soonest first.
  private var free: [Double]
  /// Ends of runs that were not over when the last one arrived.
  private var unfinished: [Double] = []
  /// Of all tasks.
  private(set) var seconds = 0.0
  /// From a commit's arrival to the end of its last task.
  private(set) var latencies: [Double] = []
  /// The most runs that were waiting or going on when another one arrived.
  private(set) var longestQueue = 0

  init(machines: Int) { free = Array(repeating: -.infinity, count: max(1, machines)) }

  /// - Parameter tasks: Each after its dependencies.
  mutating func run(_ tasks: [Task], at arrival: Double) {
    unfinished.removeAll { $0 <= arrival }
    if !tasks.isEmpty { longestQueue = max(longestQueue, unfinished.count) }
    var ends = Array(repeating: arrival, count: tasks.count)
    let ways = Self.ways(tasks)
    var waiting = tasks.map(\.dependencies.count)
    var dependents: [[Int]] = Array(repeating: [], count: tasks.count)
    for (index, task) in tasks.enumerated() { for other in task.dependencies { dependents[other].append(index) } }
    // The longest way to the end goes first, as in the scheduler: it stands last here.
    func precedes(_ a: Int, _ b: Int) -> Bool { (ways[a], b) < (ways[b], a) }
    var ready = tasks.indices.filter { waiting[$0] == 0 }.sorted(by: precedes)
    while !ready.isEmpty {
      func begin(_ index: Int) -> Double { tasks[index].dependencies.reduce(arrival) { max($0, ends[$1]) } }
      // Of those that the next free machine can begin at once; else what can begin first.
      let next =
        ready.indices.last { begin(ready[$0]) <= max(free[0], arrival) }
        ?? ready.indices.min { begin(ready[$0]) < begin(ready[$1]) } ?? 0
      let index = ready.remove(at: next)
      ends[index] = place(tasks[index].seconds, from: begin(index))
      seconds += tasks[index].seconds
      for other in dependents[index] {
        waiting[other] -= 1
        if waiting[other] == 0 { ready.insert(other, at: ready.firstIndex { precedes(other, $0) } ?? ready.count) }
      }
    }
    let end = ends.max() ?? arrival
    latencies.append(end - arrival)
    if end > arrival { unfinished.append(end) }
  }

  /// The longest way to the end of all, by task.
  private static func ways(_ tasks: [Task]) -> [Double] {
    var ways = tasks.map(\.seconds)
    for index in tasks.indices.reversed() {
      for dependency in tasks[index].dependencies {
        ways[dependency] = max(ways[dependency], tasks[dependency].seconds + ways[index])
      }
    }
    return ways
  }

  /// Gives a task to the machine that would have been idle for the shortest time, or else to the one that is free first.
  ///
  /// - Returns: The task's end.
  private mutating func place(_ seconds: Double, from ready: Double) -> Double {
    let later = free.firstIndex { $0 > ready } ?? free.count
    let end = max(free.remove(at: max(0, later - 1)), ready) + seconds
    free.insert(end, at: free.firstIndex { $0 > end } ?? free.count)
    return end
  }
}
