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
  private let entries: Mutex<[String: Entry]>
  private let isDirty = Mutex(false)

  package init(path: FilePath) {
    self.path = path
    var found: [String: Entry] = [:]
    let bytes = (try? Disk.contents(of: path.string, limit: 64 << 20)) ?? []
    for line in (bytes ?? []).split(separator: 10) {
      let parts = line.split(separator: 9)
      guard parts.count == 3, let key = Fingerprint(hex: String(decoding: parts[1], as: UTF8.self)),
        let milliseconds = Int64(String(decoding: parts[2], as: UTF8.self))
      else { continue }
      found[String(decoding: parts[0], as: UTF8.self)] = Entry(key: key, milliseconds: milliseconds)
    }
    entries = Mutex(found)
  }

  package func entry(of label: Label) -> Entry? { entries.withLock { $0[label.description] } }

  package func seconds(of label: Label) -> Double? { entry(of: label).map { Double($0.milliseconds) / 1000 } }

  package func note(_ label: Label, key: Fingerprint, milliseconds: Int64) {
    let entry = Entry(key: key, milliseconds: milliseconds)
    let changed = entries.withLock { entries in
      guard entries[label.description] != entry else { return false }
      entries[label.description] = entry
      return true
    }
    if changed { isDirty.withLock { $0 = true } }
  }

  /// Replaces the file whole, if anything changed.
  package func save() throws {
    guard isDirty.withLock({ $0 }) else { return }
    let lines = entries.withLock { entries in
      entries.sorted { $0.key < $1.key }.map { "\($0.key)\t\($0.value.key)\t\($0.value.milliseconds)\n" }
    }
    let temporary = "\(path.string).\(getpid())"
    let file = try Disk.open(temporary, O_WRONLY | O_CREAT | O_TRUNC)
    defer { try? file.close() }
    try Array(lines.joined().utf8).withUnsafeBytes { try Disk.write(file, $0, path: temporary) }
    try Disk.rename(temporary, path.string)
  }
}
