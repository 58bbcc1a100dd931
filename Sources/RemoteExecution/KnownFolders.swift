import Caching
import Digests
import Glibc
import SystemPackage

/// Folders that an engine has, with all that is in them, as a client remembers between builds: of a root with thousands of
/// files only what changed is asked about, and sent.
///
/// A file of lines: what it is, the engine's URL, the seconds since 1970 when it was begun, and digests. It is believed for
/// a day; an engine that lost something by then is given it again when it complains.
struct KnownFolders {
  private static let title = "slipway engine folders 1"
  private static let lifetime = 86_400
  /// Of digests; twice the folders of an image with a large library.
  private static let limit = 200_000

  private(set) var digests: Set<Digest> = []
  private let path: FilePath
  private let url: String
  private var begun: Int
  private var isChanged = false

  init(_ path: FilePath, url: String, now: Int = time(nil)) {
    (self.path, self.url, begun) = (path, url, now)
    guard let bytes = try? Disk.contents(of: path.string, limit: 32 << 20) else { return }
    let lines = String(decoding: bytes, as: UTF8.self).split(separator: "\n")
    guard lines.count >= 3, lines[0] == Self.title, lines[1] == url, let time = Int(lines[2]), time <= now,
      now - time < Self.lifetime
    else { return }
    begun = time
    for line in lines.dropFirst(3) { if let digest = Digest(hex: line) { digests.insert(digest) } }
  }

  mutating func insert(_ folders: some Sequence<Digest>) {
    for folder in folders where digests.count < Self.limit && digests.insert(folder).inserted { isChanged = true }
  }

  /// The engine lost some of them: no telling which.
  mutating func forget() {
    isChanged = isChanged || !digests.isEmpty
    digests = []
  }

  /// Without an effect where it fails: what is forgotten is asked again.
  mutating func save() {
    guard isChanged else { return }
    isChanged = false
    let text = ([Self.title, url, "\(begun)"] + digests.map(\.hex)).joined(separator: "\n") + "\n"
    try? Disk.makeFolders(path.removingLastComponent().string)
    try? Disk.replace(path, with: Array(text.utf8))
  }
}
