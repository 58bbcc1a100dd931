import Caching
import Events
import Glibc
import Graph
import Synchronization

/// What a command prints, told as events while it runs: whole lines, and what stays of one at the end.
final class OutputStream: Sendable {
  private let label: Label
  private let events: EventStream
  private let held = Mutex<[UInt8]>([])
  /// A line without an end is told in pieces.
  private static let longest = 64 << 10

  init(_ label: Label, _ events: EventStream) {
    self.label = label
    self.events = events
  }

  func feed(_ bytes: [UInt8]) {
    let lines = held.withLock { held -> [UInt8] in
      held += bytes
      let end = held.lastIndex(of: UInt8(ascii: "\n")).map { $0 + 1 } ?? (held.count > Self.longest ? held.count : 0)
      defer { held.removeFirst(end) }
      return Array(held[..<end])
    }
    tell(lines)
  }

  func finish() {
    tell(
      held.withLock { held in
        defer { held = [] }
        return held
      })
  }

  private func tell(_ text: [UInt8]) {
    if !text.isEmpty { events.emit(Event(.actionOutput, label: label.description, text: text)) }
  }

  /// Tells what another process appends to a file while `body` runs.
  func following<Value>(_ path: String, _ body: () async throws -> Value) async throws -> Value {
    let file = try Disk.open(path, O_RDONLY)
    defer { try? file.close() }
    let feed: @Sendable () -> Void = {
      var buffer = [UInt8](repeating: 0, count: Self.longest)
      while case let count = read(file.rawValue, &buffer, buffer.count), count > 0 {
        self.feed(Array(buffer[..<count]))
      }
    }
    let watch = Task {
      while !Task.isCancelled {
        feed()
        try? await Task.sleep(for: .milliseconds(100))
      }
    }
    let result: Result<Value, any Error>
    do { result = .success(try await body()) } catch { result = .failure(error) }
    watch.cancel()
    await watch.value
    feed()
    finish()
    return try result.get()
  }
}
