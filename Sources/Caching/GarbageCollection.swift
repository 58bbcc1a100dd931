import Diagnostics
import Digests
import Glibc
import SystemPackage

extension Store {
  package struct Collection: Hashable, Sendable {
    package var records = 0
    package var blobs = 0
    package var trees = 0
    package var layers = 0
    /// Bytes that removing them gave back.
    package var freed = 0
    /// Bytes that the store holds now.
    package var remaining = 0
  }

  /// Removes what was not used for longest, until the rest is within the limits.
  ///
  /// Records go first, by age and then least recently used; then the trees, layers and blobs that no record names.
  /// Such things without a record (sources, input trees) were made by a build too: those used within `grace` stay
  /// unless the size demands otherwise. The generation is raised and the reasons are written before anything goes, so
  /// that a kill on the way leaves no state log that trusts what is gone.
  ///
  /// - Parameters:
  ///   - maxSize: Bytes; `nil` for no limit.
  ///   - maxAge: Seconds since the last use; `nil` for no limit.
  ///   - grace: Seconds for which things without a record stay after their last use.
  ///   - now: Seconds since 1970.
  /// - Returns: `nil` when a build holds a lease: deletion never waits for builds, nor they for it to begin.
  package func gc(maxSize: Int?, maxAge: Int64?, grace: Int64 = 86_400, now: Int64 = Store.now) throws -> Collection? {
    guard let hold = try tryHold(base + "/gc.lock", LOCK_EX) else { return nil }
    defer { withExtendedLifetime(hold) {} }
    var collector = try Collector(self)
    let plan = collector.plan(maxSize: maxSize, maxAge: maxAge, grace: grace, now: now)
    var result = Collection()
    if !plan.isEmpty {
      try raiseGeneration()
      try logEvictions(plan.evictions, at: now)
      try plan.carryOut(self, &result)
    }
    try removeStaleTemporaries()
    for name in try Disk.names(inFolder: base + "/lock") { unlink(base + "/lock/" + name) }
    result.remaining = collector.total - result.freed
    return result
  }

  /// As `gc`, if the store is larger than a size; then down to nine tenths of it, so that not every build collects.
  package func gcIfLarger(than size: Int) throws -> Collection? {
    guard try statistics().bytes > size else { return nil }
    return try gc(maxSize: size / 10 * 9, maxAge: nil)
  }

  /// Seconds since 1970.
  package static var now: Int64 {
    var now = timespec()
    clock_gettime(CLOCK_REALTIME, &now)
    return Int64(now.tv_sec)
  }

  /// Removes folders under `tmp` whose process is gone: its pid names no process that started when it did, and nobody
  /// holds the folder's lock (which a process in another pid namespace does).
  package func removeStaleTemporaries() throws {
    for name in try Disk.names(inFolder: base + "/tmp") {
      let path = base + "/tmp/" + name
      let parts = name.split(separator: ".")
      if parts.count == 3, let process = Int32(parts[0]), let start = UInt64(parts[1]),
        ProcessIdentity.startTime(of: process) == start
      {
        continue
      }
      let fd = Glibc.open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
      if fd >= 0 {
        defer { Glibc.close(fd) }
        if flock(fd, LOCK_EX | LOCK_NB) != 0 { continue }
        try Disk.removeTree(path)
      } else {
        try Disk.removeTree(path)
      }
    }
  }
}

/// What gc will remove, in the order in which it does.
private struct RemovalPlan {
  var evictions: [(Fingerprint, policy: String)] = []
  var records: [(path: String, size: Int)] = []
  var folders: [(path: String, size: Int, isLayer: Bool)] = []
  var blobs: [(path: String, size: Int)] = []

  var isEmpty: Bool { records.isEmpty && folders.isEmpty && blobs.isEmpty }

  func carryOut(_ store: Store, _ result: inout Store.Collection) throws {
    for record in records {
      unlink(record.path)
      result.records += 1
      result.freed += record.size
    }
    for folder in folders {
      // Out of sight in one step, so that nobody ever sees half a tree.
      let aside = try store.temporaryPath()
      try Disk.rename(folder.path, aside)
      try Disk.removeTree(aside)
      if folder.isLayer { result.layers += 1 } else { result.trees += 1 }
      result.freed += folder.size
    }
    for blob in blobs {
      unlink(blob.path)
      result.blobs += 1
      result.freed += blob.size
    }
  }
}

/// All that the store holds, and who needs what.
private struct Collector {
  /// A thing that one or more records may need: a blob, a tree or a layer.
  struct Item {
    var path: String
    var size: Int
    /// Nanoseconds since 1970.
    var used: Int64
    var users = 0
    var gone = false
  }

  struct Record {
    var key: Fingerprint?
    var path: String
    var size: Int
    var used: Int64
    var blobs: Set<Digest> = []
    var trees: Set<Digest> = []
    var layers: Set<Digest> = []
  }

  var records: [Record] = []
  /// Both twins of a blob, under one digest.
  var blobs: [Digest: [Item]] = [:]
  var trees: [Digest: Item] = [:]
  var layers: [Digest: Item] = [:]
  /// Bytes of everything.
  var total = 0

  init(_ store: Store) throws {
    try store.eachEntry(of: "cas") { name, path, status in
      guard let digest = Digest(hex: name.hasSuffix(".x") ? name.dropLast(2) : name[...]) else { return }
      blobs[digest, default: []].append(Item(path: path, size: status.size, used: status.changed))
      total += status.size
    }
    try store.eachEntry(of: "tree") { name, path, status in
      guard let digest = Digest(hex: name) else { return }
      trees[digest] = Item(path: path, size: 0, used: status.changed)
    }
    try store.eachEntry(of: "layer") { name, path, status in
      guard let digest = Digest(hex: name) else { return }
      let size = try store.folderSize(path)
      layers[digest] = Item(path: path, size: size, used: status.changed)
      total += size
    }
    var reached: [Digest: Set<Digest>] = [:]
    try store.eachEntry(of: "ac") { name, path, status in
      let bytes = try? Disk.contents(of: path, limit: ActionCache.recordLimit)
      let record = bytes.flatMap { ActionRecord(decoding: $0) }
      var entry = Record(
        key: name.hasSuffix(".failed") ? nil : Fingerprint(hex: name), path: path, size: status.size,
        used: record == nil ? 0 : status.changed)
      for artifact in record?.artifacts ?? [] { Self.need(artifact, &entry, store, &reached) }
      records.append(entry)
      total += status.size
    }
    for record in records { count(record, 1) }
  }

  private static func need(
    _ artifact: Artifact, _ record: inout Record, _ store: Store, _ reached: inout [Digest: Set<Digest>]
  ) {
    switch artifact {
    case .file(let file): record.blobs.insert(file.digest)
    case .directory(let directory):
      if reached[directory.root] == nil {
        var below: Set<Digest> = [directory.root]
        // A damaged directory needs what could be read of it; the look-up will notice.
        try? store.walk(directory) { _, node in
          switch node {
          case .file(let file): below.insert(file.digest)
          case .folder(let inner): below.insert(inner.root)
          case .symlink: break
          }
        }
        reached[directory.root] = below
      }
      record.blobs.formUnion(reached[directory.root] ?? [])
      record.trees.insert(directory.root)
    case .image(let image):
      record.blobs.formUnion([image.manifest, image.config])
      for layer in image.layers {
        record.blobs.insert(layer.digest)
        record.layers.insert(layer.diffID)
      }
    }
  }

  private mutating func count(_ record: Record, _ change: Int) {
    for digest in record.blobs {
      for index in (blobs[digest] ?? []).indices { blobs[digest]?[index].users += change }
    }
    for digest in record.trees { trees[digest]?.users += change }
    for digest in record.layers { layers[digest]?.users += change }
  }

  mutating func plan(maxSize: Int?, maxAge: Int64?, grace: Int64, now: Int64) -> RemovalPlan {
    var plan = RemovalPlan()
    records.sort { ($0.used, $0.path) < ($1.used, $1.path) }
    var size = total
    var next = 0
    if let maxAge {
      while next < records.count, records[next].used < (now - maxAge) * 1_000_000_000 {
        evict(records[next], "max-age", &plan, &size)
        next += 1
      }
    }
    sweep(usedBefore: (now - grace) * 1_000_000_000, &plan, &size)
    guard let maxSize else { return plan }
    if size > maxSize { sweep(usedBefore: .max, downTo: maxSize, &plan, &size) }
    while size > maxSize, next < records.count {
      let record = records[next]
      evict(record, "max-size", &plan, &size)
      removeUnused(record, &plan, &size)
      next += 1
    }
    return plan
  }

  private mutating func evict(_ record: Record, _ policy: String, _ plan: inout RemovalPlan, _ size: inout Int) {
    plan.records.append((record.path, record.size))
    if let key = record.key { plan.evictions.append((key, policy)) }
    size -= record.size
    count(record, -1)
  }

  /// Removes what only this record needed.
  private mutating func removeUnused(_ record: Record, _ plan: inout RemovalPlan, _ size: inout Int) {
    for digest in record.trees.sorted() { dropTree(digest, &plan, &size) }
    for digest in record.layers.sorted() { dropLayer(digest, &plan, &size) }
    for digest in record.blobs.sorted() { dropBlob(digest, &plan, &size) }
  }

  /// Removes what no record needs, least recently used first, until the size is reached.
  private mutating func sweep(
    usedBefore time: Int64, downTo goal: Int = 0, _ plan: inout RemovalPlan, _ size: inout Int
  ) {
    enum Kind: Int { case tree, layer, blob }
    var found: [(used: Int64, kind: Kind, digest: Digest)] = []
    for (digest, item) in trees where item.users == 0 && !item.gone { found.append((item.used, .tree, digest)) }
    for (digest, item) in layers where item.users == 0 && !item.gone { found.append((item.used, .layer, digest)) }
    for (digest, items) in blobs {
      guard let used = items.map(\.used).max(), items.allSatisfy({ $0.users == 0 && !$0.gone }) else { continue }
      found.append((used, .blob, digest))
    }
    found.sort { ($0.used, $0.kind.rawValue, $0.digest) < ($1.used, $1.kind.rawValue, $1.digest) }
    for (used, kind, digest) in found where used < time && size > goal {
      switch kind {
      case .tree: dropTree(digest, &plan, &size)
      case .layer: dropLayer(digest, &plan, &size)
      case .blob: dropBlob(digest, &plan, &size)
      }
    }
  }

  private mutating func dropTree(_ digest: Digest, _ plan: inout RemovalPlan, _ size: inout Int) {
    guard let item = trees[digest], item.users == 0, !item.gone else { return }
    trees[digest]?.gone = true
    plan.folders.append((item.path, 0, false))
  }

  private mutating func dropLayer(_ digest: Digest, _ plan: inout RemovalPlan, _ size: inout Int) {
    guard let item = layers[digest], item.users == 0, !item.gone else { return }
    layers[digest]?.gone = true
    plan.folders.append((item.path, item.size, true))
    size -= item.size
  }

  private mutating func dropBlob(_ digest: Digest, _ plan: inout RemovalPlan, _ size: inout Int) {
    for (index, item) in (blobs[digest] ?? []).enumerated() where item.users == 0 && !item.gone {
      blobs[digest]?[index].gone = true
      plan.blobs.append((item.path, item.size))
      size -= item.size
    }
  }
}
