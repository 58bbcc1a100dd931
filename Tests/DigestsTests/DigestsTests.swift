import Testing

@testable import Digests

@Suite struct DigestsTests {
  @Test func `a fingerprint is what xxhsum -H2 prints`() {
    #expect(Fingerprint(of: "").description == "99aa06d3014798d86001c324468d497f")
    #expect(Fingerprint(of: "slipway") == Fingerprint(hex: Fingerprint(of: "slipway").description))
  }

  @Test func `a streamed fingerprint equals one of the whole`() {
    let bytes = (0..<100_000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
    let hasher = FingerprintHasher()
    bytes.withUnsafeBytes { all in
      hasher.update(UnsafeRawBufferPointer(rebasing: all[0..<70_001]))
      hasher.update(UnsafeRawBufferPointer(rebasing: all[70_001...]))
      #expect(hasher.finish() == Fingerprint(of: all))
    }
  }

  @Test func `a digest is SHA-256`() {
    #expect(Digest.empty.hex == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
    #expect(Digest(of: "abc").oci == "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
  }

  @Test(arguments: ["", "abc", "E3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"])
  func `what is not 64 lower-case digits is no digest`(text: String) {
    #expect(Digest(hex: text) == nil)
  }

  @Test func `fields that only concatenate alike give different keys`() {
    var a = FingerprintSink()
    a.field(.env, "AB", "C")
    var b = FingerprintSink()
    b.field(.env, "A", "BC")
    #expect(a.finish() != b.finish())
  }
}
