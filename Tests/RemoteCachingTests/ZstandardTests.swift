import Glibc
import SeededRandom
import SystemPackage
import TestServers
import Testing

@testable import RemoteCaching

/// Frames that other implementations read, and what becomes of those that are none.
@Suite struct ZstandardTests {
  /// Text of few words, as sources are.
  private static func text(_ count: Int, seed: UInt64) -> [UInt8] {
    var random = SeededGenerator(seed: seed)
    let words = ["import ", "source", "(self", "):\n    ", "return ", "\u{e9}", "0x1f"]
    var bytes: [UInt8] = []
    while bytes.count < count { bytes += Array(words.randomElement(using: &random)!.utf8) }
    return Array(bytes.prefix(count))
  }

  @Test(arguments: [512, 513, 4096, 131_071, 131_072, 131_073, 1 << 20, 5_000_001])
  func `what was compressed is expanded again, to its size alone`(_ count: Int) throws {
    let bytes = Self.text(count, seed: UInt64(count))
    let frame = try #require(Zstandard.compressed(bytes))
    #expect(frame.count < count && frame.prefix(4) == [0x28, 0xb5, 0x2f, 0xfd])
    #expect(Zstandard.expanded(frame, size: count) == bytes)
    #expect(Zstandard.expanded(frame, size: count - 1) == nil)
    #expect(Zstandard.expanded(frame, size: count + 1) == nil)
  }

  @Test func `what gets no smaller stays as it is`() {
    var random = SeededGenerator(seed: 1)
    #expect(Zstandard.compressed((0..<4096).map { _ in UInt8.random(in: 0...255, using: &random) }) == nil)
    #expect(Zstandard.compressed([UInt8](repeating: 0, count: Zstandard.leastSize - 1)) == nil)
    #expect(Zstandard.compressed([]) == nil)
  }

  @Test
  func `a frame that is cut, damaged or none at all gives nothing, or other bytes, and never more than was asked for`()
    throws
  {
    let bytes = Self.text(20_000, seed: 7)
    let frame = try #require(Zstandard.compressed(bytes))
    for end in stride(from: 0, to: frame.count, by: 97) {
      #expect(Zstandard.expanded(frame[..<end], size: bytes.count) == nil)
    }
    var random = SeededGenerator(seed: 3)
    for _ in 0..<500 {
      var damaged = frame
      damaged[Int.random(in: 0..<frame.count, using: &random)] ^= UInt8.random(in: 1...255, using: &random)
      if let found = Zstandard.expanded(damaged, size: bytes.count) { #expect(found.count == bytes.count) }
    }
    #expect(Zstandard.expanded(bytes, size: bytes.count) == nil)
    #expect(Zstandard.expanded([0x1f, 0x8b, 8, 0, 0, 0, 0, 0], size: 8) == nil)
    // 64 MiB of zeros are a frame of 2 kB.
    let bomb = Zstandard.compressed([UInt8](repeating: 0, count: 64 << 20)) ?? []
    #expect(!bomb.isEmpty && bomb.count < 16 << 10)
    #expect(Zstandard.expanded(bomb, size: 1000) == nil)
  }

  @Test func `zstd reads our frames, and we read those of zstd`() throws {
    let fixture = try Fixture()
    let folder = try fixture.sub("zstd")
    let bytes = Self.text(300_000, seed: 9)
    let encoder = try #require(Zstandard.Encoder())
    var frame: [UInt8] = []
    for start in stride(from: 0, to: bytes.count, by: 70_000) {
      #expect(bytes[start..<min(bytes.count, start + 70_000)].withUnsafeBytes { encoder.write($0) })
      frame += encoder.take()
    }
    frame += try #require(encoder.finish())
    func path(_ name: String) -> String { folder.appending(name).string }
    for (name, content) in [("plain", bytes), ("ours.zst", frame)] {
      let file = try FileDescriptor.open(path(name), .writeOnly, options: .create, permissions: .ownerReadWrite)
      try file.closeAfter { _ = try file.writeAll(content) }
    }
    for command in [
      ["zstd", "-q", "-d", path("ours.zst"), "-o", path("theirs")], ["cmp", path("plain"), path("theirs")],
      ["zstd", "-q", "-19", path("plain"), "-o", path("theirs.zst")],
    ] { _ = try ServerProcess.run(command, folder: folder) }
    let file = try FileDescriptor.open(path("theirs.zst"), .readOnly)
    let theirs = try file.closeAfter {
      try [UInt8](unsafeUninitializedCapacity: 1 << 20) { $1 = try file.read(into: UnsafeMutableRawBufferPointer($0)) }
    }
    #expect(Zstandard.expanded(theirs, size: bytes.count) == bytes)
  }
}
