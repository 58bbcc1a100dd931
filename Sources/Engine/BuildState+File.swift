import Caching
import Digests
import Files
import SystemPackage

/// The file: magic, basis, packages, targets, and the fingerprint of all that; little-endian. A file that is torn, of
/// another format or of another basis reads as none.
extension BuildState {
  private static let magic: UInt64 = 0x3230_7473_7079_6c73

  init(reading path: FilePath, basis: Fingerprint) {
    self.init(basis: basis)
    guard let bytes = (try? Disk.contents(of: path.string, limit: 1 << 30)) ?? nil, bytes.count > 56 else { return }
    bytes.withUnsafeBytes { all in
      let content = UnsafeRawBufferPointer(rebasing: all[..<(all.count - 16)])
      var reader = StateReader(all)
      guard reader.word() == Self.magic, reader.fingerprint() == basis else { return }
      var tail = StateReader(UnsafeRawBufferPointer(rebasing: all[(all.count - 16)...]))
      guard tail.fingerprint() == Fingerprint(of: content) else { return }
      decode(&reader)
    }
  }

  private mutating func decode(_ reader: inout StateReader) {
    let packageCount = Int(reader.word())
    let targetCount = Int(reader.word())
    var packages: [Package] = []
    var targets: [Target] = []
    packages.reserveCapacity(min(packageCount, 1 << 20))
    targets.reserveCapacity(min(targetCount, 1 << 20))
    for _ in 0..<packageCount {
      let path = reader.text()
      let stamp = reader.fingerprint()
      let name = reader.text()
      let start = targets.count
      for _ in 0..<Int(reader.word()) {
        let name = reader.text()
        let flags = reader.word()
        let validUntil = Int64(bitPattern: reader.word())
        let count = Int(reader.word())
        guard reader.isSound, count <= targetCount else { return }
        var dependencies: [Int32] = []
        dependencies.reserveCapacity(count)
        for _ in 0..<count { dependencies.append(Int32(truncatingIfNeeded: reader.word())) }
        targets.append(
          Target(
            name: name, sort: Sort(rawValue: flags >> 2) ?? .builds, isVerified: flags & 1 != 0,
            isWhole: flags & 2 != 0, validUntil: validUntil, dependencies: dependencies, package: Int32(packages.count))
        )
      }
      guard reader.isSound else { return }
      packages.append(
        Package(
          path: WorkspacePath(unchecked: path), stamp: stamp, defaultTarget: name.isEmpty ? nil : name,
          targets: start..<targets.count))
    }
    guard targets.allSatisfy({ $0.dependencies.allSatisfy { $0 >= 0 && $0 < targetCount } }) else { return }
    self = BuildState(basis: basis, packages: packages, targets: targets)
  }

  /// Replaces the file whole.
  func write(to path: FilePath) throws {
    var writer = StateWriter()
    writer.word(Self.magic)
    writer.fingerprint(basis)
    writer.word(UInt64(packages.count))
    writer.word(UInt64(targets.count))
    for package in packages {
      writer.text(package.path.string)
      writer.fingerprint(package.stamp)
      writer.text(package.defaultTarget ?? "")
      writer.word(UInt64(package.targets.count))
      for target in targets[package.targets] {
        writer.text(target.name)
        writer.word(target.sort.rawValue << 2 | (target.isWhole ? 2 : 0) | (target.isVerified ? 1 : 0))
        writer.word(UInt64(bitPattern: target.validUntil))
        writer.word(UInt64(target.dependencies.count))
        for dependency in target.dependencies { writer.word(UInt64(dependency)) }
      }
    }
    let sum = writer.bytes.withUnsafeBytes { Fingerprint(of: $0) }
    writer.fingerprint(sum)
    try Disk.replace(path, with: writer.bytes)
  }
}
