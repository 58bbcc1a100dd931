import Digests
import OCI

/// How an image came to be: an in-toto statement with SLSA's provenance, version 1.
///
/// It has no times and no identifier of the run, so the same build says the same.
package struct Provenance: Sendable {
  package static let mediaType = "application/vnd.in-toto+json"
  package static let predicateType = "https://slsa.dev/provenance/v1"
  /// What the external parameters mean: a target of a workspace, built for a platform.
  package static let buildType = "urn:slipway:build:image:v1"

  /// Something that went into the build, by what it is.
  package struct Dependency: Hashable, Sendable {
    package var uri: String
    /// `sha256` or `gitCommit`.
    package var algorithm: String
    /// In hexadecimal digits.
    package var value: String
    /// Files that were not as the commit has them; empty where all were.
    package var changed: [String] = []

    private init(_ uri: String, _ algorithm: String, _ value: String) {
      self.uri = uri
      self.algorithm = algorithm
      self.value = value
    }

    /// The commit that the workspace was at.
    ///
    /// - Parameters:
    ///   - remote: As git has it; user names and passwords in it are left out.
    ///   - changed: Files that went into the build otherwise than the commit has them, sorted.
    package static func commit(_ commit: String, remote: String?, changed: [String] = []) -> Dependency {
      var dependency = Dependency("git+" + (remote.flatMap(gitURL) ?? "file:"), "gitCommit", commit)
      dependency.changed = changed
      return dependency
    }

    /// An image that a target of the workspace gave.
    package static func target(_ label: String, _ manifest: Digest) -> Dependency {
      Dependency("urn:slipway:target:\(label)", "sha256", manifest.hex)
    }

    /// - Parameter reference: `docker.io/airbyte/python-connector-base:3.0.0`.
    package static func image(_ reference: String, _ manifest: Digest) -> Dependency {
      let name = reference.prefix { $0 != "@" }
      return Dependency("docker://\(name)", "sha256", manifest.hex)
    }

    /// - Parameter path: In the workspace.
    package static func file(_ path: String, _ digest: Digest) -> Dependency {
      Dependency("file:\(path)", "sha256", digest.hex)
    }

    /// Files named at most; of more the count tells.
    static let changedLimit = 100

    /// A `ResourceDescriptor` of in-toto.
    fileprivate var json: JSON {
      var members: [String: JSON] = ["uri": .string(uri), "digest": .object([algorithm: .string(value)])]
      if !changed.isEmpty {
        members["annotations"] = .object([
          "changed": .strings(Array(changed.prefix(Self.changedLimit))), "changedCount": .number(changed.count),
        ])
      }
      return .object(members)
    }

    /// `https://host/path` of any way to name a git repository; `nil` for one on this machine.
    static func gitURL(_ remote: String) -> String? {
      var (scheme, rest) = ("ssh", remote[...])
      if let range = remote.firstRange(of: "://") {
        scheme = remote[..<range.lowerBound].lowercased()
        rest = remote[range.upperBound...]
        guard ["https", "http", "ssh", "git"].contains(scheme) else { return nil }
      } else {
        // `git@host:path`, unless it is a path of this machine.
        guard let colon = remote.firstIndex(of: ":"), !remote[..<colon].contains("/"), colon != remote.startIndex else {
          return nil
        }
        rest = Substring(remote[..<colon] + "/" + remote[colon...].dropFirst().drop { $0 == "/" })
      }
      // What stands before the last `@` of the authority, or after a `?`, can be a secret.
      let authority = rest.prefix { $0 != "/" && $0 != "?" && $0 != "#" }
      let host = authority.split(separator: "@", omittingEmptySubsequences: false).last ?? authority
      let path = rest.dropFirst(authority.count).prefix { $0 != "?" && $0 != "#" }
      guard !host.isEmpty else { return nil }
      return "\(scheme)://\(host)\(path)"
    }
  }

  /// `localhost:5000/airbyte/source-faker`.
  package var subjectName: String
  /// The image manifest.
  package var subject: Digest
  /// `//connectors/source-faker:image`.
  package var label: String
  package var platform: String
  /// Who ran the build, a URI; the workspace or CI says so, else nobody is known.
  package var builder: String
  /// Of Slipway.
  package var builderVersion: String?
  package var dependencies: [Dependency]

  package init(
    subjectName: String, subject: Digest, label: String, platform: String, builder: String? = nil,
    builderVersion: String? = nil, dependencies: [Dependency]
  ) {
    self.subjectName = subjectName
    self.subject = subject
    self.label = label
    self.platform = platform
    self.builder = builder ?? "urn:slipway:builder:unknown"
    self.builderVersion = builderVersion
    self.dependencies = dependencies
  }

  /// The statement; dependencies are in byte order of their URIs, each once.
  package var encoded: [UInt8] {
    var seen: Set<Dependency> = []
    let materials = dependencies.filter { seen.insert($0).inserted }.sorted {
      ($0.uri + "\n" + $0.value).utf8.lexicographicallyPrecedes(($1.uri + "\n" + $1.value).utf8)
    }
    var tool: [String: JSON] = ["id": .string(builder)]
    tool["version"] = builderVersion.map { .object(["slipway": .string($0)]) }
    return JSON.object([
      "_type": .string("https://in-toto.io/Statement/v1"),
      "subject": .array([
        .object(["name": .string(subjectName), "digest": .object(["sha256": .string(subject.hex)])])
      ]),
      "predicateType": .string(Self.predicateType),
      "predicate": .object([
        "buildDefinition": .object([
          "buildType": .string(Self.buildType),
          "externalParameters": .object(["target": .string(label), "platform": .string(platform)]),
          "resolvedDependencies": .array(
            materials.map(\.json)),
        ]),
        "runDetails": .object(["builder": .object(tool)]),
      ]),
    ]).encoded
  }
}
