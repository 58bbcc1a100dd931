/// Lets one in at a time for each key; the others wait in the order in which they came.
actor Gate {
  private var waiting: [String: [CheckedContinuation<Void, Never>]] = [:]

  /// Waits even when cancelled: whoever is inside is bounded in time, and is cancelled too if both belong together.
  func enter(_ key: String) async {
    if waiting[key] == nil {
      waiting[key] = []
      return
    }
    await withCheckedContinuation { waiting[key]?.append($0) }
  }

  func leave(_ key: String) {
    guard var queue = waiting[key] else { return }
    if queue.isEmpty {
      waiting[key] = nil
      return
    }
    let next = queue.removeFirst()
    waiting[key] = queue
    next.resume()
  }
}
