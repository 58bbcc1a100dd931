import Digests
import Files
import Glibc
import Graph
import SystemPackage
import Testing

@testable import Engine

@Suite struct BuildStateTests {
  private let basis = Fingerprint(of: "basis")

  /// Two packages: `a:t` reads `b:u`.
  private var state: BuildState {
    BuildState(
      basis: basis,
      packages: [
        .init(path: WorkspacePath(unchecked: "a"), stamp: Fingerprint(of: "1"), defaultTarget: "t", targets: 0..<1),
        .init(path: WorkspacePath(unchecked: "b"), stamp: Fingerprint(of: "2"), defaultTarget: nil, targets: 1..<2),
      ],
      targets: [
        .init(name: "t", sort: .test, isVerified: true, validUntil: 100, dependencies: [1], package: 0),
        .init(name: "u", sort: .builds, isVerified: true, validUntil: .max, dependencies: [], package: 1),
      ])
  }

  @Test func `a target is up to date while its own and its dependencies' packages are unchanged`() {
    #expect(state.verified(unchanged: [true, true], now: 0) == [true, true])
    #expect(state.verified(unchanged: [true, false], now: 0) == [false, false])
    #expect(state.verified(unchanged: [false, true], now: 0) == [false, true])
  }

  @Test func `a result is not up to date once its freshness is over`() {
    #expect(state.verified(unchanged: [true, true], now: 100) == [false, true])
  }

  @Test func `the file gives back what was written`() throws {
    let path = FilePath("/tmp/slipway-state-\(getpid())-\(Int.random(in: 0..<Int.max))")
    defer { unlink(path.string) }
    try state.write(to: path)
    let read = BuildState(reading: path, basis: basis)
    #expect(read.packages.map(\.path.string) == ["a", "b"])
    #expect(read.index(of: Label(package: WorkspacePath(unchecked: "b"), name: "u")) == 1)
    #expect(read.closure(of: [0]) == [0, 1])
    #expect(BuildState(reading: path, basis: Fingerprint(of: "other")).packages.isEmpty)
  }

  @Test func `a file with any byte changed reads as none`() throws {
    let path = FilePath("/tmp/slipway-state-\(getpid())-\(Int.random(in: 0..<Int.max))")
    defer { unlink(path.string) }
    try state.write(to: path)
    let file = try FileDescriptor.open(path, .readWrite)
    defer { try? file.close() }
    let size = Int(try file.seek(offset: 0, from: .end))
    for offset in stride(from: 0, to: size, by: 7) {
      var byte: UInt8 = 0
      _ = try withUnsafeMutableBytes(of: &byte) { try file.read(fromAbsoluteOffset: Int64(offset), into: $0) }
      let flipped: [UInt8] = [byte ^ 0x40]
      _ = try flipped.withUnsafeBytes { try file.write(toAbsoluteOffset: Int64(offset), $0) }
      #expect(BuildState(reading: path, basis: basis).packages.isEmpty, "byte \(offset)")
      _ = try [byte].withUnsafeBytes { try file.write(toAbsoluteOffset: Int64(offset), $0) }
    }
  }
}
