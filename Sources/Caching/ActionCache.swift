import Diagnostics
import Digests
import Glibc

/// Key to result.
///
/// A success is at `ac/ab/<key>`, the last failure beside it at `.failed`, where no look-up for a hit ever reads.
package struct ActionCache: Sendable {
  package enum Lookup: Sendable {
    case hit(ActionRecord)
    case miss(Miss)
  }

  /// Why there is no hit.
  package enum Miss: Hashable, Sendable {
    case absent
    /// The record is damaged, or of another key.
    case corrupt
    case missingBlob(Digest)
    /// Removed by gc, at so many seconds since 1970.
    case evicted(at: Int64, policy: String)
  }

  static let recordLimit = 64 << 20

  package let store: Store

  package init(_ store: Store) { self.store = store }

  /// Keeps a result; its outputs and logs must be in the store already, so that no record is ever ahead of its blobs.
  package func store(_ record: ActionRecord) throws {
    if record.isSuccess {
      try store.replace(store.recordPath(record.key), with: record.encoded)
      unlink(store.failurePath(record.key))
    } else {
      try store.replace(store.failurePath(record.key), with: record.encoded)
    }
  }

  /// The result of an earlier success, whose every blob is there; the caller holds a lease, so they will stay.
  ///
  /// A failure to read is a miss: a cache never stops a build.
  package func lookup(_ key: Fingerprint) -> Lookup {
    let found = recorded(key)
    guard case .hit(let record) = found else { return found }
    if let digest = store.firstMissing(of: record) { return .miss(.missingBlob(digest)) }
    store.noteUse(store.recordPath(key))
    return found
  }

  /// The result of an earlier success, whether or not its blobs are there.
  package func recorded(_ key: Fingerprint) -> Lookup {
    let path = store.recordPath(key)
    guard let bytes = try? Disk.contents(of: path, limit: Self.recordLimit) else {
      if let (time, policy) = store.eviction(of: key) { return .miss(.evicted(at: time, policy: policy)) }
      return .miss(access(path, F_OK) == 0 ? .corrupt : .absent)
    }
    guard let record = ActionRecord(decoding: bytes), record.key == key, record.isSuccess else {
      return .miss(.corrupt)
    }
    return .hit(record)
  }

  /// The last failure under this key, for `explain` and `logs`.
  package func failure(_ key: Fingerprint) -> ActionRecord? {
    guard let bytes = try? Disk.contents(of: store.failurePath(key), limit: Self.recordLimit),
      let record = ActionRecord(decoding: bytes), record.key == key
    else { return nil }
    return record
  }

  /// Notes that results were used without being looked up: a no-op build reads its own state log only, and what it
  /// stands on must not look forgotten to gc. Call it once a day at most.
  package func noteUse(of keys: some Sequence<Fingerprint>) {
    for key in keys { store.noteUse(store.recordPath(key)) }
  }
}

extension Store {
  package var actions: ActionCache { ActionCache(self) }

  /// The first blob that the result names and the store does not have.
  package func firstMissing(of record: ActionRecord) -> Digest? {
    for artifact in record.artifacts {
      if let digest = firstMissing(of: artifact) { return digest }
    }
    return nil
  }

  /// The first blob that the artifact needs and the store does not have, of the right size.
  package func firstMissing(of artifact: Artifact) -> Digest? {
    switch artifact {
    case .file(let file): return contains(file.digest, size: file.size) ? nil : file.digest
    case .directory(let directory): return firstMissing(of: directory)
    case .image(let image):
      if !contains(image.manifest, size: image.manifestSize) { return image.manifest }
      if !contains(image.config, size: image.configSize) { return image.config }
      return image.layers.first { !contains($0.digest, size: $0.size) }?.digest
    }
  }

  /// Walks the directory once in each process and generation: nothing is removed while a lease is held.
  private func firstMissing(of directory: DirectoryArtifact) -> Digest? {
    let generation = self.generation
    let known = complete.withLock { $0.generation == generation && $0.roots.contains(directory.root) }
    if known { return nil }
    guard contains(directory.root, size: directory.size) else { return directory.root }
    var absent: Digest?
    do {
      try walk(directory) { _, node in
        guard absent == nil else { return }
        switch node {
        case .file(let file): if !contains(file.digest, size: file.size) { absent = file.digest }
        case .folder(let inner): if !contains(inner.root, size: inner.size) { absent = inner.root }
        case .symlink: break
        }
      }
    } catch {
      // The walk goes into a folder just after it was found to be missing.
      return absent ?? directory.root
    }
    if let absent { return absent }
    complete.withLock { state in
      if state.generation != generation { state = (generation, []) }
      state.roots.insert(directory.root)
    }
    return nil
  }
}
