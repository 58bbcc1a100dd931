import Digests
import SwiftProtobuf

extension Message {
  /// The encoding that names a message: fields by their numbers, which protobuf itself does not promise.
  ///
  /// Messages of this API hold no unknown fields, no floats and no map that is keyed by them, so it cannot fail.
  package var canonicalBytes: [UInt8] {
    var options = BinaryEncodingOptions()
    options.useDeterministicOrdering = true
    return (try? serializedBytes(options: options)) ?? []
  }
}

extension REAPIDigest {
  package init(_ digest: Digest, size: Int) {
    self.init()
    hash = digest.hex
    sizeBytes = Int64(size)
  }

  package init(of bytes: [UInt8]) { self.init(Digest(of: bytes), size: bytes.count) }
}

extension REAPIPlatform {
  /// Sorted by name, then by value, as the API wants them.
  package init(_ properties: [(name: String, value: String)]) {
    self.init()
    func precedes(_ a: (name: String, value: String), _ b: (name: String, value: String)) -> Bool {
      a.name.utf8.elementsEqual(b.name.utf8)
        ? a.value.utf8.lexicographicallyPrecedes(b.value.utf8) : a.name.utf8.lexicographicallyPrecedes(b.name.utf8)
    }
    self.properties = properties.sorted(by: precedes).map { property in
      var result = Property()
      result.name = property.name
      result.value = property.value
      return result
    }
  }
}
