import Caching
import Diagnostics
import Digests

/// What an image changes of its base's configuration, as the lines of a Dockerfile would.
package struct ImageChange: Sendable {
  /// Replaces the base's, and drops the base's command unless a command is given too, as ENTRYPOINT does.
  package var entrypoint: [String]?
  package var command: [String]?
  /// In order; a name that the base has keeps its place there.
  package var environment: [(name: String, value: String)] = []
  /// Merged over the base's.
  package var labels: [String: String] = [:]
  package var user: String?
  /// Relative to the base's, unless absolute, as WORKDIR is.
  package var workingDirectory: String?
  /// `8080/tcp`; added to the base's.
  package var exposedPorts: [String] = []

  package init() {}
}

/// Builds images: a base and layers, configuration, manifest; every byte of them a function of the arguments.
package struct ImageBuilder: Sendable {
  /// The creation time of every image.
  static let created = "1980-01-01T00:00:00Z"
  static let documentLimit = 16 << 20

  private let store: Store

  package init(_ store: Store) { self.store = store }

  /// Puts layers on a base, or on nothing, and stores configuration and manifest.
  ///
  /// - Parameters:
  ///   - platform: `os/architecture`, with a base that of the base.
  ///   - layers: New ones, lowest first, each with what its history entry says made it.
  package func build(
    base: ImageArtifact?, platform: String, layers: [(layer: ImageArtifact.Layer, createdBy: String)],
    change: ImageChange
  ) throws -> ImageArtifact {
    if let base, base.platform != platform {
      throw Diagnostic.error("an image for \(platform) cannot have a base for \(base.platform)", cause: .input)
    }
    let old = try base.map { try document($0.config) } ?? .object([:])
    var config = old.object ?? [:]
    let settings = Self.merge(config["config"]?.object ?? [:], change)
    let platformParts = platform.split(separator: "/").map(String.init)
    guard platformParts.count == 2 || platformParts.count == 3 else {
      throw Diagnostic.error("`\(platform)` is not a platform such as `linux/amd64`", cause: .input)
    }
    let all = (base?.layers ?? []) + layers.map(\.layer)
    config["os"] = .string(platformParts[0])
    config["architecture"] = .string(platformParts[1])
    if platformParts.count == 3 { config["variant"] = .string(platformParts[2]) }
    config["created"] = .string(Self.created)
    config["config"] = .object(settings)
    config["rootfs"] = .object(["type": .string("layers"), "diff_ids": .strings(all.map { $0.diffID.oci })])
    config["history"] = .array(
      Self.history(config["history"]?.array ?? [], baseLayers: base?.layers.count ?? 0)
        + layers.map { .object(["created": .string(Self.created), "created_by": .string($0.createdBy)]) })
    // Docker's own notes about the container that made the base; they would tell one build from another.
    for name in ["container", "container_config", "docker_version", "id", "parent", "throwaway"] { config[name] = nil }
    let configFile = try store.insert(JSON.object(config).encoded)
    // The base's descriptors as they are: another tool may have compressed its layers another way.
    let baseLayers = try base.map { try document($0.manifest)["layers"]?.array ?? [] } ?? []
    let manifest = JSON.object([
      "schemaVersion": .number(2), "mediaType": .string(MediaType.manifest),
      "config": Self.descriptor(MediaType.config, configFile.digest, configFile.size),
      "layers": .array(
        baseLayers.map(Self.inOCI) + layers.map { Self.descriptor(MediaType.layerGzip, $0.layer.digest, $0.layer.size) }
      ),
    ])
    let manifestFile = try store.insert(manifest.encoded)
    return ImageArtifact(
      platform: platform, layers: all, config: configFile.digest, configSize: configFile.size,
      manifest: manifestFile.digest, manifestSize: manifestFile.size, run: Self.run(settings))
  }

  /// The image of a manifest whose configuration is in the store; its layers need not be.
  package func image(ofManifest digest: Digest) throws -> ImageArtifact {
    func malformed(_ what: String) -> Diagnostic {
      .error("the image manifest \(digest.oci) has \(what) that is malformed", cause: .input)
    }
    let bytes = try store.read(digest, limit: Self.documentLimit)
    guard let manifest = JSON(decoding: bytes), let layers = manifest["layers"]?.array,
      let configDigest = Digest(oci: manifest["config"]?["digest"]?.string ?? ""),
      let configSize = manifest["config"]?["size"]?.int
    else { throw malformed("a descriptor") }
    let config = try document(configDigest)
    guard let diffIDs = config["rootfs"]?["diff_ids"]?.strings?.map({ Digest(oci: $0) }), diffIDs.count == layers.count,
      let os = config["os"]?.string, let architecture = config["architecture"]?.string
    else { throw malformed("a configuration") }
    let taken = try zip(layers, diffIDs).map { layer, diffID in
      guard let diffID, let digest = Digest(oci: layer["digest"]?.string ?? ""), let size = layer["size"]?.int,
        size >= 0
      else { throw malformed("a descriptor or a configuration") }
      return ImageArtifact.Layer(diffID: diffID, digest: digest, size: size)
    }
    // Of `arm64` there is but one variant.
    let variant = architecture == "arm64" ? nil : config["variant"]?.string.flatMap { $0.isEmpty ? nil : $0 }
    return ImageArtifact(
      platform: [os, architecture, variant].compactMap(\.self).joined(separator: "/"), layers: taken,
      config: configDigest, configSize: configSize,
      manifest: digest, manifestSize: bytes.count, run: Self.run(config["config"]?.object ?? [:]))
  }

  /// Stores an index of images, one for each platform, in byte order of the platforms.
  package func index(_ images: [ImageArtifact]) throws -> FileArtifact {
    let sorted = images.sorted { $0.platform.utf8.lexicographicallyPrecedes($1.platform.utf8) }
    return try store.insert(
      JSON.object([
        "schemaVersion": .number(2), "mediaType": .string(MediaType.index),
        "manifests": .array(sorted.map { Self.manifestDescriptor($0) }),
      ]).encoded)
  }

  func document(_ digest: Digest) throws -> JSON {
    let bytes = try store.read(digest, limit: Self.documentLimit)
    guard let json = JSON(decoding: bytes), json.object != nil else {
      throw Diagnostic.error("the blob `\(digest)` is not a JSON document of an image", cause: .environment)
    }
    return json
  }

  static func descriptor(_ type: String, _ digest: Digest, _ size: Int) -> JSON {
    .object(["mediaType": .string(type), "digest": .string(digest.oci), "size": .number(size)])
  }

  /// Docker's own media type of a layer as OCI's, which means the same bytes: a manifest must not mix the two.
  private static func inOCI(_ layer: JSON) -> JSON {
    guard var members = layer.object, layer["mediaType"]?.string == MediaType.dockerLayerGzip else { return layer }
    members["mediaType"] = .string(MediaType.layerGzip)
    return .object(members)
  }

  static func manifestDescriptor(_ image: ImageArtifact, name: String? = nil) -> JSON {
    var members = descriptor(MediaType.manifest, image.manifest, image.manifestSize).object ?? [:]
    let parts = image.platform.split(separator: "/").map(String.init)
    var platform: [String: JSON] = ["os": .string(parts.first ?? "linux")]
    if parts.count > 1 { platform["architecture"] = .string(parts[1]) }
    if parts.count > 2 { platform["variant"] = .string(parts[2]) }
    members["platform"] = .object(platform)
    if let name { members["annotations"] = .object(["org.opencontainers.image.ref.name": .string(name)]) }
    return .object(members)
  }

  /// One entry for each of the base's layers at least: readers match them by position.
  private static func history(_ entries: [JSON], baseLayers: Int) -> [JSON] {
    let filled = entries.count { $0["empty_layer"] != .bool(true) }
    let missing = max(0, baseLayers - filled)
    return entries + Array(repeating: .object(["created": .string(created)]), count: missing)
  }

  /// A Dockerfile's rules.
  static func merge(_ base: [String: JSON], _ change: ImageChange) -> [String: JSON] {
    var settings = base
    if let entrypoint = change.entrypoint {
      settings["Entrypoint"] = entrypoint.isEmpty ? nil : .strings(entrypoint)
      settings["Cmd"] = nil
    }
    if let command = change.command { settings["Cmd"] = command.isEmpty ? nil : .strings(command) }
    if !change.environment.isEmpty {
      var variables = base["Env"]?.strings ?? []
      for (name, value) in change.environment {
        let line = name + "=" + value
        if let index = variables.firstIndex(where: { $0.utf8.starts(with: (name + "=").utf8) }) {
          variables[index] = line
        } else {
          variables.append(line)
        }
      }
      settings["Env"] = .strings(variables)
    }
    if !change.labels.isEmpty {
      var labels = base["Labels"]?.object ?? [:]
      // The order of the dictionary does not matter: no name is there twice.
      for (name, value) in change.labels { labels[name] = .string(value) }
      settings["Labels"] = .object(labels)
    }
    if !change.exposedPorts.isEmpty {
      var ports = base["ExposedPorts"]?.object ?? [:]
      for port in change.exposedPorts { ports[port] = .object([:]) }
      settings["ExposedPorts"] = .object(ports)
    }
    if let user = change.user { settings["User"] = .string(user) }
    if let folder = change.workingDirectory {
      let below = base["WorkingDir"]?.string ?? "/"
      settings["WorkingDir"] = .string(
        folder.hasPrefix("/") ? folder : (below.hasSuffix("/") ? below : below + "/") + folder)
    }
    return settings
  }

  static func run(_ settings: [String: JSON]) -> ImageArtifact.RunConfiguration {
    ImageArtifact.RunConfiguration(
      environment: settings["Env"]?.strings ?? [], entrypoint: settings["Entrypoint"]?.strings ?? [],
      command: settings["Cmd"]?.strings ?? [], workingDirectory: settings["WorkingDir"]?.string ?? "",
      user: settings["User"]?.string ?? "")
  }
}
