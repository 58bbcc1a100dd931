import Caching
import Diagnostics
import Digests
import Distribution
import Glibc
import OCI
import Synchronization
import SystemPackage

/// What publishing has done so far: a file that is only ever added to, a line for each step, each on disk before the
/// next step begins.
///
/// A line is the XXH3-128 of the rest of it, and a JSON object. A kill or a full disk can tear the last line only; torn
/// and damaged lines are no lines. The registry stays the truth about what is published: the journal says what was under
/// way, and in which repositories blobs are that need not be sent again.
package final class PublishJournal: Sendable {
  /// What a release's lines are kept under.
  package struct Key: Hashable, Sendable {
    package var reference: Reference
    package var manifest: Digest

    package init(_ reference: Reference, manifest: Digest) {
      self.reference = reference
      self.manifest = manifest
    }
  }

  /// In the order in which a release goes through them.
  package enum Step: String, Hashable, Sendable, CaseIterable, Comparable {
    /// `described`: with what is attached to the images; `flipped`: the metadata store shows it.
    case begun, blobs, manifests, verified, described, tagged, latest, flipped, done

    package static func < (a: Step, b: Step) -> Bool { a.rank < b.rank }
    private var rank: Int { Self.allCases.firstIndex(of: self) ?? 0 }
  }

  private struct State {
    var file: FileDescriptor
    var steps: [Key: Step] = [:]
    var order: [Key] = []
    /// By registry and blob: repositories that were about to get it, the latest last.
    var places: [BlobKey: [String]] = [:]
    var details: [Key: [Step: String]] = [:]
    /// Metadata stores whose lists of connectors were being written.
    var unlisted: Set<String> = []
    /// A line could not be written whole: the next one must not go on in it.
    var isTorn = false
  }

  struct BlobKey: Hashable {
    var registry: String
    var digest: Digest
  }

  private let path: String
  private let state: Mutex<State>
  /// Bytes from which on a journal is written anew when it is opened, without what is over.
  package static let compactFrom = 8 << 20
  private static let limit = 1 << 30

  /// Opens the journal, or begins one; its folder is there already.
  package init(path: FilePath, compactFrom: Int = PublishJournal.compactFrom) throws {
    self.path = path.string
    let bytes = try Disk.contents(of: path.string, limit: Self.limit) ?? []
    var loaded = State(file: FileDescriptor(rawValue: -1))
    for line in bytes.split(separator: UInt8(ascii: "\n")) { Self.take(line, &loaded) }
    let isLong = bytes.count > compactFrom
    if isLong { try Self.rewrite(path.string, loaded) }
    loaded.file = try Disk.open(path.string, O_WRONLY | O_CREAT | O_APPEND)
    if !isLong, let last = bytes.last, last != UInt8(ascii: "\n") {
      try Array("\n".utf8).withUnsafeBytes { try Disk.write(loaded.file, $0, path: path.string) }
    }
    state = Mutex(loaded)
  }

  deinit { state.withLock { try? $0.file.close() } }

  // MARK: Asking

  /// The last step that a release has completed.
  package func step(_ key: Key) -> Step? { state.withLock { $0.steps[key] } }

  /// What was noted with a step.
  package func detail(_ key: Key, _ step: Step) -> String? { state.withLock { $0.details[key]?[step] } }

  /// Releases that were begun and not completed, in the order in which they were.
  package var unfinished: [Key] {
    state.withLock { state in state.order.filter { state.steps[$0] != .done } }
  }

  /// Repositories of a registry that may have the blob, likeliest first.
  package func repositories(with digest: Digest, at registry: String) -> [String] {
    state.withLock { $0.places[BlobKey(registry: registry, digest: digest)]?.reversed() ?? [] }
  }

  // MARK: Noting

  /// Notes a completed step, durably.
  package func note(_ key: Key, _ step: Step, detail: String? = nil) throws {
    var members: [String: JSON] = [
      "image": .string(key.reference.description), "manifest": .string(key.manifest.oci),
      "step": .string(step.rawValue),
    ]
    if let detail { members["detail"] = .string(detail) }
    try append(.object(members))
  }

  /// Notes, durably, that a blob is about to be sent to a repository: so that a later run looks for it there.
  package func noteBlob(_ digest: Digest, to reference: Reference) throws {
    let isKnown = state.withLock {
      $0.places[BlobKey(registry: reference.registry, digest: digest)]?.last == reference.repository
    }
    if isKnown { return }
    try append(
      .object([
        "blob": .string(digest.oci), "registry": .string(reference.registry),
        "repository": .string(reference.repository),
      ]))
  }

  // MARK: Lists of connectors

  /// Whether a run that was to write a metadata store's lists of connectors has not come to its end.
  package func isListing(_ store: String) -> Bool { state.withLock { $0.unlisted.contains(store) } }

  /// Notes, durably, that a metadata store's lists of connectors are about to be written, or were looked at afterwards.
  package func noteListing(_ store: String, isDone: Bool) throws {
    if isListing(store) != isDone { return }
    try append(Self.listing(store, isDone: isDone))
  }

  private static func listing(_ store: String, isDone: Bool) -> JSON {
    .object(["lists": .string(store), "step": .string((isDone ? Step.done : .begun).rawValue)])
  }

  private func append(_ json: JSON) throws {
    let line = Self.line(json)
    try state.withLock { state in
      let written = (state.isTorn ? [UInt8(ascii: "\n")] : []) + line
      state.isTorn = true
      try written.withUnsafeBytes { try Disk.write(state.file, $0, path: path) }
      state.isTorn = false
      while fdatasync(state.file.rawValue) != 0 {
        if errno != EINTR { throw Disk.failure("write", path) }
      }
      Self.take(line.dropLast(), &state)
    }
  }

  // MARK: Lines

  private static func line(_ json: JSON) -> [UInt8] {
    let text = json.encoded
    return Array(checksum(text).utf8) + [UInt8(ascii: " ")] + text + [UInt8(ascii: "\n")]
  }

  private static func checksum(_ bytes: [UInt8]) -> String {
    bytes.withUnsafeBytes { Fingerprint(of: $0).description }
  }

  private static func take(_ line: ArraySlice<UInt8>, _ state: inout State) {
    guard line.count > 33 else { return }
    let text = Array(line.dropFirst(33))
    guard String(decoding: line.prefix(33), as: UTF8.self) == checksum(text) + " ", let json = JSON(decoding: text)
    else { return }
    if let image = json["image"]?.string, let reference = try? Reference(image),
      let manifest = Digest(oci: json["manifest"]?.string ?? ""), let step = Step(rawValue: json["step"]?.string ?? "")
    {
      let key = Key(reference, manifest: manifest)
      if state.steps[key] == nil { state.order.append(key) }
      state.steps[key] = step
      state.details[key, default: [:]][step] = json["detail"]?.string
    } else if let digest = Digest(oci: json["blob"]?.string ?? ""), let registry = json["registry"]?.string,
      let repository = json["repository"]?.string, Reference.isRepository(repository)
    {
      let key = BlobKey(registry: registry, digest: digest)
      state.places[key, default: []].removeAll { $0 == repository }
      state.places[key, default: []].append(repository)
    } else if let store = json["lists"]?.string, let step = Step(rawValue: json["step"]?.string ?? "") {
      if step == .done { state.unlisted.remove(store) } else { state.unlisted.insert(store) }
    }
  }

  /// Keeps where blobs are, what is under way, and what was noted last of each release.
  private static func rewrite(_ path: String, _ state: State) throws {
    var bytes: [UInt8] = []
    let places = state.places.sorted { ($0.key.registry, $0.key.digest) < ($1.key.registry, $1.key.digest) }
    for (key, repositories) in places {
      for repository in repositories.suffix(4) {
        bytes += line(
          .object([
            "blob": .string(key.digest.oci), "registry": .string(key.registry), "repository": .string(repository),
          ]))
      }
    }
    for key in state.order {
      for step in Step.allCases where state.details[key]?[step] != nil || state.steps[key] == step {
        var members: [String: JSON] = [
          "image": .string(key.reference.description), "manifest": .string(key.manifest.oci),
          "step": .string(step.rawValue),
        ]
        if let detail = state.details[key]?[step] { members["detail"] = .string(detail) }
        bytes += line(.object(members))
      }
    }
    for store in state.unlisted.sorted() { bytes += line(listing(store, isDone: false)) }
    try DurableFile.replace(path, with: bytes)
  }
}
