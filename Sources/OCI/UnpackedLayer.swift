import CArchive
import Caching
import SystemPackage

/// The folder of an unpacked layer, as an overlay sees it.
package struct UnpackedLayer: Sendable {
  package let folder: FilePath

  package init(_ folder: FilePath) { self.folder = folder }

  /// Whether the layer has something in place of what a lower one has at the path: the same name, a whiteout of it or
  /// of a folder above it, an opaque folder, or a file where the lower layer has a folder.
  ///
  /// - Parameter path: Names from the root.
  package func hides(_ path: [String]) throws -> Bool {
    var place = folder.string
    for (index, name) in path.enumerated() {
      place += "/" + name
      guard let status = try Disk.status(place) else { return false }
      // Both kinds of whiteout that the unpacker makes are no folders.
      if index == path.count - 1 || status.kind != .folder { return true }
      var value: UInt8 = 0
      if getxattr(place, "user.overlay.opaque", &value, 1) == 1, value == UInt8(ascii: "y") { return true }
    }
    return false
  }
}
