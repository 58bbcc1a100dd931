import Caching
import Diagnostics
import Digests
import FoundationEssentials

/// The bytes that a `fetch` may bring: JSON lines of `{path, sha256, …}`.
///
/// `sha256` may be a list of alternatives (a lock that pins every file of a release does not say which one fits), and a
/// `path` that ends in `/` then admits one file of any name inside that folder.
struct FetchPlan {
  struct Entry {
    var path: String
    var digests: [Digest]
    var isFolder: Bool { path.hasSuffix("/") }
  }

  var entries: [Entry]

  /// Throws a `Diagnostic` that names the line.
  init(parsing text: [UInt8], name: String) throws {
    entries = []
    var number = 0
    for line in text.split(separator: 10, omittingEmptySubsequences: false) {
      number += 1
      guard line.contains(where: { $0 > 32 }) else { continue }
      guard let row = try? JSONDecoder().decode(Row.self, from: Data(line)) else {
        throw Diagnostic.error("line \(number) of \(name) is not {\"path\": …, \"sha256\": …}", cause: .build)
      }
      let digests = row.sha256.compactMap { Digest(hex: $0) }
      guard !digests.isEmpty, digests.count == row.sha256.count else {
        throw Diagnostic.error("line \(number) of \(name) has no SHA-256 of 64 lower-case digits", cause: .build)
      }
      let parts = row.path.split(separator: "/", omittingEmptySubsequences: false)
      let inner = row.path.hasSuffix("/") ? parts.dropLast() : parts
      guard !inner.isEmpty, inner.allSatisfy({ !$0.isEmpty && $0 != "." && $0 != ".." }) else {
        throw Diagnostic.error("line \(number) of \(name) has the unusable path `\(row.path)`", cause: .build)
      }
      entries.append(Entry(path: row.path, digests: digests))
    }
  }

  private struct Row: Decodable {
    var path: String
    var sha256: [String]

    enum Keys: String, CodingKey { case path, sha256 }

    init(from decoder: any Decoder) throws {
      let container = try decoder.container(keyedBy: Keys.self)
      path = try container.decode(String.self, forKey: .path)
      if let one = try? container.decode(String.self, forKey: .sha256) {
        sha256 = [one]
      } else {
        sha256 = try container.decode([String].self, forKey: .sha256)
      }
    }
  }

  /// What is wrong with the fetched files: each must be in the plan with its digest, and nothing planned may lack.
  func problems(of files: [(path: String, digest: Digest)]) -> [String] {
    var problems: [String] = []
    var served = [Int](repeating: 0, count: entries.count)
    for file in files {
      let match = entries.firstIndex { entry in
        entry.isFolder
          ? file.path.hasPrefix(entry.path) && !file.path.dropFirst(entry.path.count).contains("/")
          : file.path == entry.path
      }
      guard let match else {
        problems.append("`\(file.path)` is not in the plan")
        continue
      }
      served[match] += 1
      if !entries[match].digests.contains(file.digest) {
        problems.append("`\(file.path)` has the digest \(file.digest), which the plan does not hold")
      }
    }
    for (index, count) in served.enumerated() where count != 1 {
      problems.append(
        count == 0 ? "`\(entries[index].path)` was not fetched" : "`\(entries[index].path)` was fetched \(count) times")
    }
    return problems
  }
}
