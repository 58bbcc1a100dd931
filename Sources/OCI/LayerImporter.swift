import Caching
import Diagnostics
import Digests
import Glibc
import SystemPackage

/// Makes a layer of an existing tar, plain or compressed: its uncompressed bytes are kept as they are, so the diffID is
/// that of the tar; the compression is Slipway's own.
package struct LayerImporter: Sendable {
  private let store: Store
  /// Bytes that the tar may hold.
  package var limit = 64 << 30

  package init(_ store: Store) { self.store = store }

  package func importTar(_ path: FilePath) throws -> ImageArtifact.Layer {
    let file = try Disk.open(path.string, O_RDONLY)
    defer { try? file.close() }
    let reader = try InflatingReader(file, path: path.string, hashing: false, limit: limit)
    let sink = try LayerSink(store)
    while true {
      let bytes = try reader.next()
      if bytes.isEmpty { break }
      try sink.write(bytes)
    }
    return try sink.finish()
  }
}
