import CArchive
import Caching
import Diagnostics
import Digests
import Glibc
import SystemPackage
import Testing

@testable import OCI

/// Tars that try to write outside their layer, to fill the disk or to confuse; each is refused, or made harmless.
@Suite struct EvilTarTests {
  struct Evil: Sendable, CustomTestStringConvertible {
    let name: String
    /// Part of the diagnostic.
    let reason: String
    let make: @Sendable (inout TarMaker, _ outside: String) -> Void

    var testDescription: String { name }
  }

  static let refused: [Evil] = [
    Evil(name: "dot-dot", reason: "leads out") { tar, _ in tar.add("../outside/evil", .file, "x") },
    Evil(name: "dot-dot inside", reason: "leads out") { tar, _ in tar.add("a/../../outside/evil", .file, "x") },
    Evil(name: "dot-dot folder", reason: "leads out") { tar, _ in tar.add("..", .folder) },
    Evil(name: "absolute", reason: "is absolute") { tar, outside in tar.add(outside + "/evil", .file, "x") },
    Evil(name: "dot-dot in a pax path", reason: "leads out") { tar, _ in
      tar.addPax([("path", "b/../../outside/evil")])
      tar.add("innocent", .file, "x")
    },
    Evil(name: "through an absolute symlink", reason: "goes through a symlink") { tar, outside in
      tar.add("a", .symlink, link: outside)
      tar.add("a/evil", .file, "x")
    },
    Evil(name: "through a relative symlink", reason: "goes through a symlink") { tar, _ in
      tar.add("a", .symlink, link: "..")
      tar.add("a/outside/evil", .file, "x")
    },
    Evil(name: "through two symlinks", reason: "goes through a symlink") { tar, outside in
      tar.add("d/", .folder)
      tar.add("d/a", .symlink, link: "../b")
      tar.add("b", .symlink, link: outside)
      tar.add("d/a/evil", .file, "x")
    },
    Evil(name: "through a symlink that took a folder's place", reason: "goes through a symlink") { tar, outside in
      tar.add("a/", .folder)
      tar.add("a", .symlink, link: outside)
      tar.add("a/evil", .file, "x")
    },
    Evil(name: "a folder made through a symlink", reason: "goes through a symlink") { tar, outside in
      tar.add("a", .symlink, link: outside)
      tar.add("a/evil/", .folder)
    },
    Evil(name: "a symlink through a symlink", reason: "goes through a symlink") { tar, outside in
      tar.add("a", .symlink, link: outside)
      tar.add("a/evil", .symlink, link: "/etc/passwd")
    },
    Evil(name: "a whiteout through a symlink", reason: "goes through a symlink") { tar, outside in
      tar.add("a", .symlink, link: outside)
      tar.add("a/.wh.precious", .file)
    },
    Evil(name: "through a file", reason: "goes through a symlink or a file") { tar, _ in
      tar.add("a", .file, "x")
      tar.add("a/evil", .file, "x")
    },
    Evil(name: "hard link to dot-dot", reason: "leads out") { tar, _ in
      tar.add("evil", .hardLink, link: "../outside/precious")
    },
    Evil(name: "hard link to an absolute path", reason: "is absolute") { tar, outside in
      tar.add("evil", .hardLink, link: outside + "/precious")
    },
    Evil(name: "hard link through a symlink", reason: "hard link to what is not") { tar, outside in
      tar.add("a", .symlink, link: outside)
      tar.add("evil", .hardLink, link: "a/precious")
    },
    Evil(name: "hard link to a folder", reason: "hard link to what is not") { tar, _ in
      tar.add("d/", .folder)
      tar.add("evil", .hardLink, link: "d")
    },
    Evil(name: "hard link to nothing", reason: "hard link to what is not") { tar, _ in
      tar.add("evil", .hardLink, link: "nothing")
    },
    Evil(name: "hard link to the root", reason: "links to the root") { tar, _ in
      tar.add("evil", .hardLink, link: ".")
    },
    Evil(name: "a symlink in the root's place", reason: "root") { tar, outside in
      tar.add("./", .symlink, link: outside)
      tar.add("evil", .file, "x")
    },
    Evil(name: "a file over a full folder", reason: "takes the place of a folder") { tar, _ in
      tar.add("d/x", .file, "x")
      tar.add("d", .file, "x")
    },
    Evil(name: "a size beyond the limit", reason: "larger than") { tar, _ in
      tar.add("huge", .file, "x", size: .octal(8 << 30 - 1))
    },
    Evil(name: "a size of 2^62", reason: "") { tar, _ in
      tar.add("huge", .file, "x", size: .raw([0x80, 0, 0, 0, 0x40, 0, 0, 0, 0, 0, 0, 0]))
    },
    Evil(name: "a negative size", reason: "") { tar, _ in
      tar.add("minus", .file, "x", size: .raw([UInt8](repeating: 0xFF, count: 12)))
    },
    Evil(name: "a sparse file of a terabyte", reason: "larger than") { tar, _ in
      // GNU's old sparse header: one piece at offset 0, and the real size at 483.
      tar.add(
        "hole", .sparse, "x",
        patch: [
          257: Array("ustar  ".utf8) + [0], 386: Array("00000000000".utf8) + [0] + Array("00000000001".utf8) + [0],
          483: [0x80, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0],
        ])
    },
    Evil(name: "a wrong checksum", reason: "as a tar") { tar, _ in
      tar.add("a", .file, "x")
      tar.add("b", .file, "x", badChecksum: true)
    },
    Evil(name: "noise", reason: "as a tar") { tar, _ in
      tar.add(
        "a", .file, "x", patch: Dictionary(uniqueKeysWithValues: stride(from: 0, to: 500, by: 7).map { ($0, [0xA5]) }))
    },
    Evil(name: "a whiteout of dot-dot", reason: "removes no name") { tar, _ in tar.add("a/.wh...", .file) },
    Evil(name: "a whiteout of dot", reason: "removes no name") { tar, _ in tar.add("a/.wh..", .file) },
    Evil(name: "a whiteout of nothing", reason: "removes no name") { tar, _ in tar.add("a/.wh.", .file) },
    Evil(name: "a component that is too long", reason: "too long") { tar, _ in
      tar.addPax([("path", String(repeating: "n", count: 300))])
      tar.add("innocent", .file, "x")
    },
    Evil(name: "a path that is too long", reason: "too long") { tar, _ in
      tar.addPax([("path", String(repeating: "d/", count: 3000) + "f")])
      tar.add("innocent", .file, "x")
    },
    Evil(name: "a path that is too deep", reason: "too deep") { tar, _ in
      tar.addPax([("path", String(repeating: "d/", count: 300) + "f")])
      tar.add("innocent", .file, "x")
    },
    Evil(name: "too many entries", reason: "more than the 1000 entries") { tar, _ in
      for index in 0..<1001 { tar.add("f\(index)", .file) }
    },
  ]

  let scratch: Scratch
  var unpacker: LayerUnpacker

  init() throws {
    scratch = try Scratch()
    try Disk.makeFolders(scratch.path + "/outside")
    try scratch.write("outside/precious", Array("precious".utf8))
    unpacker = LayerUnpacker(scratch.store)
    unpacker.limits.bytes = 64 << 20
    unpacker.limits.entries = 1000
  }

  /// Nothing outside changed, nothing is half there.
  func expectHarmless(_ layer: ImageArtifact.Layer, _ comment: Comment? = nil) throws {
    #expect(try scratch.listing("outside", modes: false) == ["precious 8"], comment)
    #expect(try scratch.text("outside/precious") == "precious", comment)
    #expect(try Disk.status(scratch.path + "/outside/precious")?.links == 1, comment)
    #expect(try Disk.status(scratch.store.layerPath(layer.diffID).string) == nil, comment)
    for session in try Disk.names(inFolder: scratch.path + "/store/tmp") {
      #expect(try Disk.names(inFolder: scratch.path + "/store/tmp/" + session) == [], comment)
    }
  }

  @Test(arguments: refused) func `an evil tar is refused with its reason`(evil: Evil) throws {
    var tar = TarMaker()
    evil.make(&tar, scratch.path + "/outside")
    let layer = try scratch.layer(tar.end())
    #expect {
      try unpacker.unpackNow(layer)
    } throws: { error in
      guard let diagnostic = error as? Diagnostic else { return false }
      return diagnostic.message.contains(evil.reason) && diagnostic.cause == .build
    }
    try expectHarmless(layer)
  }

  @Test func `a truncated tar is refused at whatever byte of an entry it ends`() throws {
    var tar = TarMaker()
    tar.add("a", .file, String(repeating: "x", count: 700))
    for length in [1, 100, 511, 512, 600, 1023, 1100, 1211] {
      let layer = try scratch.layer(Array(tar.bytes[..<length]))
      #expect(throws: Diagnostic.self, "\(length)") { try unpacker.unpackNow(layer) }
      try expectHarmless(layer)
    }
  }

  @Test func `a compressed bomb stops at the limit`() throws {
    var tar = TarMaker()
    tar.add("zeros", .file, "", size: .octal(60 << 20))
    let layer = try scratch.layer(tar.bytes + [UInt8](repeating: 0, count: 100 << 20))
    #expect(layer.size < 1 << 20)
    #expect {
      try unpacker.unpackNow(layer)
    } throws: { ($0 as? Diagnostic)?.message.contains("expands to more than") == true }
    try expectHarmless(layer)
  }

  @Test func `a blob whose bytes were damaged or cut is refused`() throws {
    var tar = TarMaker()
    tar.add("a", .file, String(repeating: "some text ", count: 1000))
    let layer = try scratch.layer(tar.end())
    let path = try scratch.store.path(of: layer.digest, executable: false).string
    let sound = try #require(try Disk.contents(of: path, limit: 1 << 20))
    chmod(path, 0o644)
    let name = String(path.dropFirst(scratch.path.utf8.count + 1))
    for index in sound.indices {
      var damaged = sound
      damaged[index] ^= 0x10
      try scratch.write(name, damaged)
      #expect(throws: Diagnostic.self, "\(index)") { try unpacker.unpackNow(layer) }
    }
    for length in [0, 1, 10, sound.count / 2, sound.count - 1] {
      try scratch.write(name, Array(sound[..<length]))
      #expect(throws: Diagnostic.self, "\(length)") { try unpacker.unpackNow(layer) }
    }
    try expectHarmless(layer)
  }

  @Test func `a layer that is not the one its image says is refused`() throws {
    var tar = TarMaker()
    tar.add("a", .file, "x")
    var layer = try scratch.layer(tar.end())
    layer.diffID = .empty
    #expect {
      try unpacker.unpackNow(layer)
    } throws: { ($0 as? Diagnostic)?.message.contains("does not hold what its image says") == true }
    try expectHarmless(layer)
  }

  @Test func `a file over a hard link to a symlink replaces the link and not what it points to`() throws {
    var tar = TarMaker()
    tar.add("a", .symlink, link: scratch.path + "/outside/precious")
    tar.add("b", .hardLink, link: "a")
    tar.add("b", .file, "evil")
    let folder = try unpacker.unpackNow(scratch.layer(tar.end()))
    #expect(try scratch.text("outside/precious") == "precious")
    #expect(
      try scratch.listing(folder.string, modes: false) == ["a -> \(scratch.path)/outside/precious", "b 4"])
  }

  @Test func `nodes are left out, set-id bits and overlay attributes are dropped`() throws {
    var tar = TarMaker()
    tar.add("dev/", .folder, mode: 0o755)
    tar.add("dev/sda", .characterDevice, patch: [329: Array("0000010".utf8), 337: Array("0000000".utf8)])
    tar.add("node", .characterDevice, patch: [329: Array("0000000".utf8), 337: Array("0000000".utf8)])
    tar.add("pipe", .fifo)
    tar.add("su", .file, "x", mode: 0o6755)
    tar.addPax([("SCHILY.xattr.user.overlay.opaque", "y"), ("SCHILY.xattr.security.capability", "x")])
    tar.add("d/", .folder, mode: 0o2755)
    tar.add("shut/", .folder, mode: 0)
    tar.add("shut/secret", .file, "x", mode: 0)
    tar.add("tmp/", .folder, mode: 0o1777)
    let folder = try unpacker.unpackNow(scratch.layer(tar.end()))
    #expect(
      try scratch.listing(folder.string) == [
        "d/ 755", "dev/ 755", "shut/ 700", "shut/secret 600 1", "su 755 1", "tmp/ 1777",
      ])
    #expect(getxattr(folder.string + "/d", "user.overlay.opaque", nil, 0) == -1)
  }

  @Test func `no mutation of a tar crashes, hangs or reaches outside`() throws {
    var tar = TarMaker()
    tar.add("d/", .folder)
    tar.add("d/a", .file, "content")
    tar.addPax([("path", "d/" + String(repeating: "long", count: 40))])
    tar.add("x", .file, "more")
    tar.add("l", .symlink, link: "d")
    tar.add("h", .hardLink, link: "d/a")
    tar.add("d/.wh.gone", .file)
    let sound = tar.end()
    let seed = UInt64.random(in: 0 ... .max)
    var random = Generator(state: seed)
    for _ in 0..<400 {
      var bytes = sound
      for _ in 0..<Int.random(in: 1...6, using: &random) {
        bytes[Int.random(in: 0..<bytes.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
      }
      let layer = try scratch.layer(bytes)
      do {
        try Disk.removeTree(try unpacker.unpackNow(layer).string)
      } catch is Diagnostic {}
      try expectHarmless(layer, "seed \(seed)")
    }
  }

  struct Generator: RandomNumberGenerator {
    var state: UInt64

    /// SplitMix64.
    mutating func next() -> UInt64 {
      state &+= 0x9E37_79B9_7F4A_7C15
      var z = state
      z = (z ^ z >> 30) &* 0xBF58_476D_1CE4_E5B9
      z = (z ^ z >> 27) &* 0x94D0_49BB_1331_11EB
      return z ^ z >> 31
    }
  }
}
