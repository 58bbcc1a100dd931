import Synchronization

/// Something that is told every event, in order, one at a time.
///
/// It is called under the stream's lock: it must be quick, and must not emit.
package protocol EventSink: Sendable {
  func receive(_ event: Event)

  /// Some thousand hits at once, of a build of which little changed: as many `target.finished` by default.
  func receive(hits: some Sequence<Event>, count: Int, tests: Int)
}

extension EventSink {
  package func receive(hits: some Sequence<Event>, count: Int, tests: Int) { for event in hits { receive(event) } }
}

/// Numbers and stamps events, counts them, and hands each to every sink.
///
/// Safe to use from any thread; all sinks see the same order.
package final class EventStream: Sendable {
  private struct State {
    var sequence = 0
    var counts = Counts()
  }

  private let sinks: [any EventSink]
  private let elapsed: @Sendable () -> Duration
  private let state = Mutex(State())

  /// `elapsed` is the time since the build began; the stamps never go backwards as long as it does not.
  package init(sinks: [any EventSink], elapsed: @escaping @Sendable () -> Duration) {
    self.sinks = sinks
    self.elapsed = elapsed
  }

  package convenience init(sinks: [any EventSink]) {
    let start = ContinuousClock.now
    self.init(sinks: sinks, elapsed: { ContinuousClock.now - start })
  }

  /// Sends an event; its sequence and time are set here, and a `build.finished` gets the counts if it has none.
  package func emit(_ event: Event) {
    state.withLock { state in
      var event = event
      event.sequence = state.sequence
      event.milliseconds = elapsed().wholeMilliseconds
      state.sequence += 1
      state.counts.add(event)
      if event.kind == .buildFinished {
        event.counts = event.counts ?? state.counts
        event.durationMs = event.durationMs ?? event.milliseconds
      }
      for sink in sinks { sink.receive(event) }
    }
  }

  /// Sends a `target.finished` for each of `items`: those that were up to date, `tests` of them tests that passed.
  ///
  /// An event is made where a sink looks at it only.
  package func emit<Items: Collection>(hits items: Items, tests: Int, _ event: (Items.Element) -> Event) {
    withoutActuallyEscaping(event) { make in
      state.withLock { state in
        let (first, milliseconds) = (state.sequence, elapsed().wholeMilliseconds)
        let events = zip(items, first...).lazy.map { item, sequence in
          var event = make(item)
          (event.sequence, event.milliseconds) = (sequence, milliseconds)
          return event
        }
        state.sequence += items.count
        state.counts.add(hits: items.count, tests: tests)
        for sink in sinks { sink.receive(hits: events, count: items.count, tests: tests) }
      }
    }
  }

  /// What has been counted so far.
  package var counts: Counts { state.withLock(\.counts) }
}

extension Duration {
  /// Rounded down.
  package var wholeMilliseconds: Int {
    let (seconds, attoseconds) = components
    return Int(seconds) * 1000 + Int(attoseconds / 1_000_000_000_000_000)
  }
}
