import Caching
import Diagnostics
import Digests
import Distribution
import Events
import Files
import Glibc
import Graph
import Manifests
import OCI
import Planning
import SystemPackage

extension Session {
  /// Builds one image target; gives its label and its images, one for each platform.
  ///
  /// - Parameter platforms: Those to build for; empty for all that it is for.
  /// - Throws: What stood in the way, or `BuildFailed` when the console has said it.
  package func images(of text: String, platforms: [String], events: EventStream) async throws -> (
    label: Label, images: PlatformImages
  ) {
    let lease = try await store.lease()
    defer { withExtendedLifetime(lease) {} }
    let (plan, target) = try target(text)
    guard [.image, .rootfs, .pull].contains(target.rule) else {
      throw Diagnostic.error("\(target.label) has the rule `\(target.rule.rawValue)` and is no image")
    }
    let spread = try await spread([target.label], in: plan, chosen: platforms) { $0.isImage || $0 == .pull }
    var options = BuildOptions()
    options.download = .requested
    let outcome = try await walk(spread, options, events)
    for warning in registries.takeWarnings() { events.emit(Event(.cacheWarning, message: warning.rendered)) }
    guard outcome.exitCode == 0 else { throw BuildFailed(exitCode: outcome.exitCode) }
    return (target.label, try PlatformImages((outcome.outputs[target.label] ?? []).compactMap(\.image), in: store))
  }

  /// A build failed, and said so.
  package struct BuildFailed: Error {
    package var exitCode: Int32
  }

  /// Opens a connection to the registry of a reference while something else is done.
  package func connect(to text: String) {
    guard let reference = try? Reference(text) else { return }
    let client = registries.client()
    Task { await client.connect(to: reference) }
  }

  /// Pushes images by digest, then the index of them if they are several, then the tag; gives the reference that names
  /// them for good.
  package func push(_ images: PlatformImages, to text: String) async throws -> Reference {
    let reference = try Reference(text)
    guard reference.digest == nil else {
      throw Diagnostic.error(
        "`\(text)` names a digest; an image is pushed to a repository, or to a tag of it",
        hints: ["slipway image push … \(reference.name):TAG"])
    }
    let client = registries.client()
    for image in images.images {
      try await client.push(
        PushableImage(manifest: image.manifest, in: store), to: reference,
        tag: images.index == nil ? reference.tag : nil)
    }
    if let index = images.index {
      let bytes = try store.read(index.digest, limit: 4 << 20)
      try await client.pushManifest(bytes, mediaType: MediaType.index, to: reference, byDigest: true)
      if reference.tag != nil {
        try await client.pushManifest(bytes, mediaType: MediaType.index, to: reference, byDigest: false)
      }
    }
    await registries.close()
    return reference.pinned(to: images.digest)
  }

  /// Writes images as a tar for `skopeo`, `podman load` and `docker load`; to standard output where no path is given.
  package func save(_ images: PlatformImages, names: [String], to path: String?) throws {
    for name in names where try Reference(name).tag == nil {
      throw Diagnostic.error("`\(name)` has no tag", hints: ["write `\(name):latest`"])
    }
    guard let path else {
      return try ImageArchive(store).write(
        images, platform: Workspace.platform, names: names, to: .standardOutput, path: "standard output")
    }
    let temporary = path + ".slipway-\(getpid())"
    let file = try Disk.open(temporary, O_WRONLY | O_CREAT | O_TRUNC)
    do {
      defer { try? file.close() }
      try ImageArchive(store).write(images, platform: Workspace.platform, names: names, to: file, path: path)
    } catch {
      unlink(temporary)
      throw error
    }
    try Disk.rename(temporary, path)
  }

  /// What images are, as `slipway image inspect` prints it (`schemas/image.schema.json`).
  package func inspection(of images: PlatformImages) throws -> String {
    let all = try images.images.map { try inspection(of: $0) }
    guard let index = images.index else { return String(decoding: all[0].encoded, as: UTF8.self) }
    let document = JSON.object([
      "index": .object(["digest": .string(index.digest.oci), "size": .number(index.size)]), "images": .array(all),
    ])
    return String(decoding: document.encoded, as: UTF8.self)
  }

  private func inspection(of image: ImageArtifact) throws -> JSON {
    let config = JSON(decoding: try store.read(image.config, limit: 16 << 20)) ?? .null
    return .object([
      "platform": .string(image.platform),
      "manifest": .object(["digest": .string(image.manifest.oci), "size": .number(image.manifestSize)]),
      "config": .object(["digest": .string(image.config.oci), "size": .number(image.configSize)]),
      "layers": .array(
        image.layers.map { layer in
          .object([
            "diffID": .string(layer.diffID.oci), "digest": .string(layer.digest.oci), "size": .number(layer.size),
          ])
        }),
      "run": config["config"] ?? .object([:]),
    ])
  }

  /// A digest that `updateImages` wrote, or would write.
  package struct ImageUpdate: Sendable {
    package var file: String
    package var line: Int
    package var old: String
    package var new: String
  }

  /// Pins the images that manifests name to the digests that their tags have now.
  ///
  /// Looks at `image:` and `base:` in `targets.yaml` and at `baseImage` in `metadata.yaml`; images that a target of the
  /// workspace stands in for are left alone. Comments and layout stay.
  package func updateImages(_ patterns: [String], writes: Bool) async throws -> [ImageUpdate] {
    let set = try parse(patterns)
    try workspace.tree.refresh(.all)
    var places: [(source: SourceText, scalar: Node, reference: Reference)] = []
    var diagnostics = DiagnosticList()
    for package in set.packages(among: workspace.tree.packages) {
      for (name, role) in [("metadata.yaml", SourceText.Role.data), ("targets.yaml", .template)] {
        let path = package.appending(name)
        guard workspace.tree.mode(of: path) != nil else { continue }
        let source = SourceText(
          file: path.string, bytes: try workspace.tree.read(path, limit: YAMLParser.Limit.file), role: role)
        do throws(Diagnostic) {
          for scalar in Self.imageScalars(try YAMLParser.parse(source)) {
            guard let short = ImageReference(scalar.scalar?.text ?? ""),
              !workspace.settings.images.contains(where: { $0.repository.value == short.repository }),
              let reference = try? Reference(scalar.scalar?.text ?? "")
            else { continue }
            places.append((source, scalar, reference))
          }
        } catch { diagnostics.diagnostics.append(error) }
      }
    }
    if diagnostics.hasErrors { throw diagnostics }
    var digests: [Reference: Digest] = [:]
    var updates: [ImageUpdate] = []
    var edits: [String: (source: SourceText, edits: [SourceEdit])] = [:]
    for (source, scalar, reference) in places where reference.digest == nil || reference.tag != nil {
      let old = scalar.scalar?.text ?? ""
      let tagged = try reference.tagged(reference.tag ?? "latest")
      if digests[tagged] == nil {
        guard let found = try await registries.client().resolve(tagged) else {
          throw Diagnostic.error(
            "cannot pin `\(old)`: its registry has no such tag", at: scalar.span, cause: .environment)
        }
        digests[tagged] = found.digest
      }
      guard let digest = digests[tagged], digest != reference.digest else { continue }
      let written = old.prefix { $0 != "@" }
      let new = written + (reference.tag == nil ? ":latest" : "") + "@" + digest.oci
      guard let edit = source.edit(of: scalar, to: String(new)) else {
        throw Diagnostic.error(
          "cannot change this text in place", at: scalar.span, hints: ["write it on one line: \(new)"])
      }
      updates.append(ImageUpdate(file: source.file, line: Int(scalar.place.line), old: old, new: String(new)))
      edits[source.file, default: (source, [])].edits.append(edit)
    }
    await registries.close()
    if writes {
      for (file, change) in edits.sorted(by: { $0.key < $1.key }) {
        try workspace.replace(file, with: change.source.applying(change.edits))
      }
    }
    return updates
  }

  private static func imageScalars(_ node: Node) -> [Node] {
    switch node.content {
    case .scalar: return []
    case .sequence(let elements): return elements.flatMap(imageScalars)
    case .mapping(let pairs):
      return pairs.flatMap { pair -> [Node] in
        let isImage = ["image", "base", "baseImage"].contains(pair.name)
        guard isImage, let text = pair.value.scalar?.text else { return imageScalars(pair.value) }
        return text.hasPrefix("//") || text.hasPrefix(":") || text.contains("$") ? [] : [pair.value]
      }
    }
  }
}
