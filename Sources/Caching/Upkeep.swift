import Diagnostics
import Digests
import Glibc
import SystemPackage

extension Store {
  package struct Statistics: Hashable, Sendable {
    package struct Class: Hashable, Sendable {
      package var count = 0
      /// Bytes; none for trees, whose files are hard links of blobs.
      package var bytes = 0
    }

    package var blobs = Class()
    package var trees = Class()
    package var layers = Class()
    package var records = Class()
    package var failures = Class()

    package var bytes: Int { blobs.bytes + layers.bytes + records.bytes + failures.bytes }
  }

  /// Calls for everything in one of the store's sharded folders, in byte order.
  func eachEntry(of folder: String, _ body: (_ name: String, _ path: String, _ status: Disk.Status) throws -> Void)
    throws
  {
    for shard in try Disk.names(inFolder: base + "/" + folder) {
      let place = base + "/" + folder + "/" + shard
      for name in try Disk.names(inFolder: place) {
        let path = place + "/" + name
        if let status = try Disk.status(path) { try body(name, path, status) }
      }
    }
  }

  /// Bytes of all files in a folder.
  func folderSize(_ path: String) throws -> Int {
    var total = 0
    var pending = [path]
    while let folder = pending.popLast() {
      for name in try Disk.names(inFolder: folder) {
        guard let status = try Disk.status(folder + "/" + name) else { continue }
        if status.kind == .folder { pending.append(folder + "/" + name) }
        // Hard links inside a layer count once.
        if status.kind == .file { total += status.size / max(1, status.links) }
      }
    }
    return total
  }

  /// Counts and bytes of each class.
  package func statistics() throws -> Statistics {
    var result = Statistics()
    try eachEntry(of: "cas") { _, _, status in result.blobs.add(status.size) }
    try eachEntry(of: "tree") { _, _, _ in result.trees.add(0) }
    try eachEntry(of: "layer") { _, path, _ in result.layers.add(try folderSize(path)) }
    try eachEntry(of: "ac") { name, _, status in
      if name.hasSuffix(".failed") { result.failures.add(status.size) } else { result.records.add(status.size) }
    }
    return result
  }

  package struct Verification: Hashable, Sendable {
    package var blobs = 0
    package var records = 0
    /// One line for each thing that was bad and is removed now.
    package var removed: [String] = []
  }

  /// Reads everything, and removes what is not what its name says; a build then makes it again.
  ///
  /// Waits for no one: a blob that is not what its name says must not be used, whoever holds a lease. The generation is
  /// raised first where anything goes.
  package func verify() throws -> Verification {
    var result = Verification()
    var bad: [String] = []
    var paths: [(name: String, path: String, executable: Bool)] = []
    try eachEntry(of: "cas") { name, path, _ in paths.append((name, path, name.hasSuffix(".x"))) }
    let blobs = paths
    let sound = try concurrently(blobs.count) { index in
      let (name, path, executable) = blobs[index]
      guard let digest = Digest(hex: executable ? name.dropLast(2) : name[...]) else { return false }
      return try isSound(path, digest: digest, mode: executable ? 0o555 : 0o444)
    }
    result.blobs = blobs.count
    for (blob, isSound) in zip(blobs, sound) where !isSound { bad.append(blob.path) }
    let damaged = Set(bad)
    try eachEntry(of: "ac") { name, path, _ in
      result.records += 1
      let isFailure = name.hasSuffix(".failed")
      let key = Fingerprint(hex: isFailure ? name.dropLast(7) : name[...])
      let record = (try? Disk.contents(of: path, limit: ActionCache.recordLimit)).flatMap {
        $0.flatMap { ActionRecord(decoding: $0) }
      }
      guard let record, record.key == key, record.isSuccess != isFailure else { return bad.append(path) }
      if record.artifacts.contains(where: { isIncomplete($0, without: damaged) && names($0, damaged) }) {
        bad.append(path)
      }
    }
    guard !bad.isEmpty else { return result }
    try raiseGeneration()
    complete.withLock { $0.roots = [] }
    for path in bad {
      try Disk.removeTree(path)
      result.removed.append(path)
    }
    try removeTreesWithBadFiles(damaged, &result)
    return result
  }

  private func isSound(_ path: String, digest: Digest, mode: UInt32) throws -> Bool {
    let fd = Glibc.open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)
    guard fd >= 0 else { return errno == ENOENT }
    let file = FileDescriptor(rawValue: fd)
    defer { try? file.close() }
    let status = try Disk.status(of: file, path: path)
    guard status.kind == .file, status.permissions == mode else { return false }
    var hasher = DigestHasher()
    try withUnsafeTemporaryAllocation(byteCount: 256 << 10, alignment: 16) { buffer in
      while true {
        let count = try Disk.read(file, into: buffer, path: path)
        if count == 0 { break }
        hasher.update(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
      }
    }
    return hasher.finish() == digest
  }

  private func isIncomplete(_ artifact: Artifact, without bad: Set<String>) -> Bool {
    func isGone(_ digest: Digest) -> Bool {
      [false, true].allSatisfy { executable in
        let path = blobPath(digest, executable: executable)
        return bad.contains(path) || access(path, F_OK) != 0
      }
    }
    switch artifact {
    case .file(let file): return isGone(file.digest)
    case .image(let image):
      return isGone(image.manifest) || isGone(image.config) || image.layers.contains { isGone($0.digest) }
    case .directory(let directory):
      if isGone(directory.root) { return true }
      var incomplete = false
      do {
        try walk(directory) { _, node in
          switch node {
          case .file(let file): if isGone(file.digest) { incomplete = true }
          case .folder(let inner): if isGone(inner.root) { incomplete = true }
          case .symlink: break
          }
        }
      } catch { return true }
      return incomplete
    }
  }

  /// A tree shares the inodes of its blobs, so one with a damaged file must go too; trees are cheap, so all go that can
  /// no longer be walked or that name a digest whose blob was bad.
  private func removeTreesWithBadFiles(_ bad: Set<String>, _ result: inout Verification) throws {
    guard !bad.isEmpty else { return }
    var trees: [(String, String)] = []
    try eachEntry(of: "tree") { name, path, _ in trees.append((name, path)) }
    for (name, path) in trees {
      var keep = false
      if let root = Digest(hex: name), let size = try Disk.status(blobPath(root, executable: false))?.size {
        let artifact = Artifact.directory(DirectoryArtifact(root: root, size: size))
        keep = !isIncomplete(artifact, without: bad) && !mentions(artifact, bad)
      }
      if keep { continue }
      let aside = try temporaryPath()
      try Disk.rename(path, aside)
      try Disk.removeTree(aside)
      result.removed.append(path)
    }
  }

  /// Whether it names a blob that is damaged; one that is not here may be elsewhere, and is noticed by who needs it.
  private func names(_ artifact: Artifact, _ bad: Set<String>) -> Bool {
    func isBad(_ digest: Digest) -> Bool {
      [false, true].contains { bad.contains(blobPath(digest, executable: $0)) }
    }
    switch artifact {
    case .file(let file): return isBad(file.digest)
    case .image(let image):
      return isBad(image.manifest) || isBad(image.config) || image.layers.contains { isBad($0.digest) }
    case .directory(let directory):
      var found = isBad(directory.root)
      try? walk(directory) { _, node in
        switch node {
        case .file(let file): if isBad(file.digest) { found = true }
        case .folder(let inner): if isBad(inner.root) { found = true }
        case .symlink: break
        }
      }
      return found
    }
  }

  private func mentions(_ artifact: Artifact, _ bad: Set<String>) -> Bool {
    guard case .directory(let directory) = artifact else { return false }
    var found = false
    try? walk(directory) { _, node in
      if case .file(let file) = node, bad.contains(blobPath(file.digest, executable: file.isExecutable)) {
        found = true
      }
    }
    return found
  }
}

extension Store.Statistics.Class {
  fileprivate mutating func add(_ size: Int) {
    count += 1
    bytes += size
  }
}
