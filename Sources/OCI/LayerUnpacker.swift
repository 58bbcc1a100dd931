import CArchive
import Caching
import Diagnostics
import Digests
import Glibc
import SystemPackage

/// Unpacks layers to folders that serve as lower layers of an overlay mounted with `userxattr`, as an ordinary user.
///
/// Owners, set-id bits, extended attributes and device nodes are dropped; modes are kept, but the owner can always
/// read, write and enter, since an overlay cannot copy up what it cannot read. Times are the tar's: Python's compiled
/// files name the times of their sources.
///
/// libarchive parses, but does not write: its own writer works from the process's working folder, which threads share.
/// Every entry is made by descriptor below the layer's folder instead, through no symlink.
package struct LayerUnpacker: Sendable {
  package struct Limits: Sendable {
    /// Bytes of the uncompressed tar, and of all files together.
    package var bytes = 32 << 30
    package var entries = 4_000_000

    package init() {}
  }

  private let store: Store
  package var limits = Limits()

  package init(_ store: Store) { self.store = store }

  /// The unpacked layer's folder, made now if it is not there; several callers at once make it once.
  package func unpack(_ layer: ImageArtifact.Layer) async throws -> FilePath {
    if let place = present(layer) { return place }
    let hold = try await store.lock(Fingerprint(of: "layer " + layer.diffID.hex))
    defer { withExtendedLifetime(hold) {} }
    return try present(layer) ?? unpackNow(layer)
  }

  private func present(_ layer: ImageArtifact.Layer) -> FilePath? {
    let place = store.layerPath(layer.diffID)
    guard access(place.string, F_OK) == 0 else { return nil }
    store.noteUse(place.string)
    return place
  }

  func unpackNow(_ layer: ImageArtifact.Layer) throws -> FilePath {
    let blob = try store.open(layer.digest)
    defer { try? blob.close() }
    let name = "the layer \(layer.digest.oci)"
    let temporary = try store.makeTemporaryFolder()
    do {
      let reader = try InflatingReader(blob, path: name, hashing: true, limit: limits.bytes)
      let tar = try TarReader(reader, path: name)
      try inTarLocale {
        var extraction = try Extraction(into: temporary, limits: limits)
        defer { extraction.close() }
        try extraction.extract(tar)
      }
      let diffID = try tar.digest()
      guard try reader.compressedDigest() == layer.digest else {
        throw Diagnostic.error("\(name) is damaged: its bytes have another digest", cause: .environment)
      }
      guard diffID == layer.diffID else {
        throw Diagnostic.error(
          "\(name) does not hold what its image says: expected \(layer.diffID.oci), found \(diffID.oci)", cause: .build)
      }
      Disk.setModificationTime(temporary.string)
      let place = store.layerPath(layer.diffID)
      try store.publishFolder(temporary, at: place)
      return place
    } catch {
      try? Disk.removeTree(temporary.string)
      throw error
    }
  }
}
