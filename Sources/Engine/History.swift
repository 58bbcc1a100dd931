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
  /// Read with the first question: a build of what did not change asks none.
  private let entries = Mutex<[String: Entry]?>(nil)
  private let isDirty = Mutex(false)

  package init(path: FilePath) { self.path = path }

  private func read() -> [String: Entry] {
    var found: [String: Entry] = [:]
    let bytes = (try? Disk.contents(of: path.string, limit: 64 << 20)) ?? []
    for line in bytes.split(separator: 10) {
      let parts = line.split(separator: 9)
      guard parts.count == 3, let key = Fingerprint(hex: String(decoding: parts[1], as: UTF8.self)),
        let milliseconds = Int64(String(decoding: parts[2], as: UTF8.self))
      else { continue }
      found[String(decoding: parts[0], as: UTF8.self)] = Entry(key: key, milliseconds: milliseconds)
    }
    return found
  }

  private func withEntries<R>(_ body: (inout [String: Entry]) -> R) -> R {
    entries.withLock { cached in
      var known = cached ?? read()
      cached = nil
      defer { cached = known }
      return body(&known)
    }
  }

  package func entry(of label: Label) -> Entry? { withEntries { $0[label.description] } }

  package func seconds(of label: Label) -> Double? { entry(of: label).map { Double($0.milliseconds) / 1000 } }

  package func note(_ label: Label, key: Fingerprint, milliseconds: Int64) {
    let entry = Entry(key: key, milliseconds: milliseconds)
    let changed = withEntries { entries in
      guard entries[label.description] != entry else { return false }
      entries[label.description] = entry
      return true
    }
    if changed { isDirty.withLock { $0 = true } }
  }

  /// Replaces the file whole, if anything changed.
  package func save() throws {
    guard isDirty.withLock({ $0 }) else { return }
    let lines = withEntries { entries in
      entries.sorted { $0.key < $1.key }.map { "\($0.key)\t\($0.value.key)\t\($0.value.milliseconds)\n" }
    }
    try StateFile.replace(path, with: Array(lines.joined().utf8))
  }
}
