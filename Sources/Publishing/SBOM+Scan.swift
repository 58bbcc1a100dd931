import Caching
import Diagnostics
import Digests
import Glibc
import OCI
import Synchronization
import SystemPackage

/// Finds the packages of images in their unpacked layers; what a layer holds is looked for once.
package final class SBOMScanner: Sendable {
  private let store: Store
  private let unpacker: LayerUnpacker
  private let scanned = Mutex<[Digest: [Finding]]>([:])

  package init(_ store: Store) {
    self.store = store
    unpacker = LayerUnpacker(store)
  }

  /// A file that tells of packages, in one layer.
  struct Finding: Sendable {
    enum Content: Sendable {
      case packages([SBOM.Package])
      case distribution(SBOM.Distribution?)
    }

    var path: [String]
    var content: Content
  }

  /// Bytes of a file that is read, and folders inside one another; a stranger made the image.
  private enum Limit {
    static let file = 64 << 20
    static let depth = 40
  }

  /// - Parameter name: What people call the image.
  package func sbom(of image: ImageArtifact, name: String) async throws -> SBOM {
    var layers: [(layer: UnpackedLayer, findings: [Finding])] = []
    for layer in image.layers {
      let folder = try await unpacker.unpack(layer)
      layers.append((UnpackedLayer(folder), try findings(in: folder.string, layer.diffID)))
    }
    var packages: [SBOM.Package] = []
    var distribution: SBOM.Distribution?
    for (index, layer) in layers.enumerated() {
      for finding in layer.findings {
        // A file that an upper layer has too, or removes, is not the image's.
        let isHidden = try layers[(index + 1)...].contains { try $0.layer.hides(finding.path) }
        if isHidden { continue }
        switch finding.content {
        case .packages(let found): packages += found
        case .distribution(let found): distribution = found ?? distribution
        }
      }
    }
    return SBOM(
      name: name, platform: image.platform, config: image.config, distribution: distribution, packages: packages)
  }

  private func findings(in folder: String, _ diffID: Digest) throws -> [Finding] {
    if let known = scanned.withLock({ $0[diffID] }) { return known }
    let top = try Disk.open(folder, O_RDONLY | O_DIRECTORY)
    defer { try? top.close() }
    var found: [Finding] = []
    try walk(top, [], &found)
    let findings = found
    scanned.withLock { $0[diffID] = findings }
    return findings
  }

  // MARK: One layer

  /// Where no package manager keeps its notes, though there are many files.
  private static let pruned: Set<[String]> = [
    ["proc"], ["sys"], ["dev"], ["run"], ["tmp"], ["boot"], ["usr", "share"], ["usr", "include"], ["var", "cache"],
  ]

  private func walk(_ folder: FileDescriptor, _ path: [String], _ found: inout [Finding]) throws {
    guard path.count < Limit.depth, !Self.pruned.contains(path) else { return }
    let isSite = path.last == "site-packages" || path.last == "dist-packages"
    for (name, type) in try Self.entries(folder, path) {
      let inner = path + [name]
      if type == DT_DIR {
        if isSite && !name.hasSuffix(".dist-info") { continue }
        let fd = openat(folder.rawValue, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
        guard fd >= 0 else { throw Disk.failure("open the folder", inner.joined(separator: "/")) }
        let next = FileDescriptor(rawValue: fd)
        defer { try? next.close() }
        try walk(next, inner, &found)
      } else if type == DT_REG, let content = try content(folder, name, inner) {
        found.append(Finding(path: inner, content: content))
      }
    }
  }

  private func content(_ folder: FileDescriptor, _ name: String, _ path: [String]) throws -> Finding.Content? {
    if name == "METADATA", path.count > 2, path[path.count - 2].hasSuffix(".dist-info") {
      return .packages(SBOM.pythonPackage(try read(folder, name, path)).map { [$0] } ?? [])
    }
    switch path {
    case ["var", "lib", "dpkg", "status"]: return .packages(SBOM.debianPackages(try read(folder, name, path)))
    case ["usr", "lib", "os-release"], ["etc", "os-release"]:
      return .distribution(SBOM.distribution(try read(folder, name, path)))
    default:
      guard path.count == 5, path.starts(with: ["var", "lib", "dpkg", "status.d"]), !name.hasSuffix(".md5sums") else {
        return nil
      }
      return .packages(SBOM.debianPackages(try read(folder, name, path)))
    }
  }

  private func read(_ folder: FileDescriptor, _ name: String, _ path: [String]) throws -> [UInt8] {
    let shown = path.joined(separator: "/")
    let file = try Disk.open(name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, at: folder.rawValue)
    defer { try? file.close() }
    let size = try Disk.status(of: file, path: shown).size
    guard size <= Limit.file else {
      throw Diagnostic.error(
        "`\(shown)` in the image holds \(size) bytes, too many for a list of packages", cause: .build)
    }
    return try [UInt8](unsafeUninitializedCapacity: size) { buffer, count in
      count = try Disk.read(file, into: UnsafeMutableRawBufferPointer(buffer), path: shown)
    }
  }

  /// Names and types in a folder, in byte order; a name that is not UTF-8 is none that is looked for.
  private static func entries(_ folder: FileDescriptor, _ path: [String]) throws -> [(name: String, type: Int)] {
    let copy = openat(folder.rawValue, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard copy >= 0, let stream = fdopendir(copy) else {
      throw Disk.failure("read the folder", path.joined(separator: "/"))
    }
    defer { closedir(stream) }
    var found: [(String, Int)] = []
    while true {
      errno = 0
      guard let entry = readdir(stream) else {
        if errno != 0 { throw Disk.failure("read the folder", path.joined(separator: "/")) }
        break
      }
      let name: String? = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(validatingCString: $0) }
      }
      guard let name, name != ".", name != ".." else { continue }
      var type = Int(entry.pointee.d_type)
      if type == DT_UNKNOWN, let status = try Disk.status(name, at: folder.rawValue) {
        type = status.kind == .folder ? Int(DT_DIR) : status.kind == .file ? Int(DT_REG) : Int(DT_LNK)
      }
      found.append((name, type))
    }
    return found.sorted { $0.0.utf8.lexicographicallyPrecedes($1.0.utf8) }
  }
}
