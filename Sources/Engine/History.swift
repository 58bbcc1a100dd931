import Caching
import Diagnostics
import Digests
import FoundationEssentials
import Glibc
import Graph
import Synchronization
import SystemPackage

/// The last key and duration of each target in this workspace: `.slipway/history`, a line each.
///
/// It only guides: lost or torn, it costs a worse schedule and a shorter `explain`.
package final class History: Sendable {
  package struct Entry: Hashable, Sendable {
    package var key: Fingerprint
    package var milliseconds: Int64
  }

  private let path: FilePath
  private let state = Mutex(State())

  private struct State {
    /// Read with the first question: a build of what did not change asks none.
    var file: HistoryFile?
    /// What this process added.
    var noted: [String: Entry] = [:]
  }

  package init(path: FilePath) { self.path = path }

  package func entry(of label: Label) -> Entry? {
    let name = label.description
    return state.withLock { state in
      if let entry = state.noted[name] { return entry }
      let file = state.file ?? HistoryFile(reading: path)
      state.file = file
      return file.entry(of: name)
    }
  }

  package func seconds(of label: Label) -> Double? { entry(of: label).map { Double($0.milliseconds) / 1000 } }

  package func note(_ label: Label, key: Fingerprint, milliseconds: Int64) {
    let entry = Entry(key: key, milliseconds: milliseconds)
    if self.entry(of: label) == entry { return }
    state.withLock { $0.noted[label.description] = entry }
  }

  /// Replaces the file whole, if anything changed.
  package func save() throws {
    let (file, noted) = state.withLock { ($0.file, $0.noted) }
    if noted.isEmpty { return }
    try Disk.replace(path, with: (file ?? HistoryFile(reading: path)).merged(with: noted))
  }
}

/// The file's lines, looked up as they are: a build asks for few of thousands.
private struct HistoryFile {
  private let bytes: [UInt8]
  /// Where each line is, without its end; in the order of their labels' bytes.
  private let lines: [Range<Int>]

  init(reading path: FilePath) {
    bytes = ((try? Disk.contents(of: path.string, limit: 64 << 20)) ?? nil) ?? []
    var lines: [Range<Int>] = []
    var start = 0
    while let end = bytes[start...].firstIndex(of: 10) {
      lines.append(start..<end)
      start = end + 1
    }
    self.lines = lines
  }

  /// A line's label.
  private func label(_ line: Range<Int>) -> ArraySlice<UInt8> { bytes[line].prefix { $0 != 9 } }

  func entry(of label: String) -> History.Entry? {
    var low = 0
    var high = lines.count
    while low < high {
      let middle = (low + high) / 2
      if self.label(lines[middle]).lexicographicallyPrecedes(label.utf8) { low = middle + 1 } else { high = middle }
    }
    guard low < lines.count else { return nil }
    let parts = bytes[lines[low]].split(separator: 9)
    guard parts.count == 3, parts[0].elementsEqual(label.utf8),
      let key = Fingerprint(hex: String(decoding: parts[1], as: UTF8.self)),
      let milliseconds = Int64(String(decoding: parts[2], as: UTF8.self))
    else { return nil }
    return History.Entry(key: key, milliseconds: milliseconds)
  }

  /// The lines with others among them, or in their places.
  func merged(with entries: [String: History.Entry]) -> [UInt8] {
    var result: [UInt8] = []
    result.reserveCapacity(bytes.count + entries.count * 80)
    var rest = lines[...]
    for (name, entry) in entries.sorted(by: { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) }) {
      while let line = rest.first, label(line).lexicographicallyPrecedes(name.utf8) {
        result += bytes[line.lowerBound...line.upperBound]
        rest.removeFirst()
      }
      if let line = rest.first, label(line).elementsEqual(name.utf8) { rest.removeFirst() }
      result += "\(name)\t\(entry.key)\t\(entry.milliseconds)\n".utf8
    }
    for line in rest { result += bytes[line.lowerBound...line.upperBound] }
    return result
  }
}
