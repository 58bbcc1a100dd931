import Caching
import Diagnostics
import Digests
import OCI

extension PulledImage {
  /// The image as targets depend on it, from its configuration in the store.
  ///
  /// What a layer holds is compared with its diffID when it is unpacked.
  package func artifact(in store: Store) throws -> ImageArtifact {
    let bytes = try store.read(parts.config.digest, limit: 16 << 20)
    guard let config = JSON(decoding: bytes), let names = config["rootfs"]?["diff_ids"]?.strings,
      names.count == parts.layers.count
    else { throw malformed("does not name a diffID for each layer") }
    let layers = try zip(names, parts.layers).map { name, layer in
      guard let diffID = Digest(oci: name) else { throw malformed("has a diffID that is no SHA-256 digest") }
      return ImageArtifact.Layer(diffID: diffID, digest: layer.digest, size: layer.size)
    }
    let settings = config["config"]
    return ImageArtifact(
      platform: platform, layers: layers, config: parts.config.digest, configSize: parts.config.size,
      manifest: manifest.digest, manifestSize: manifest.size,
      run: ImageArtifact.RunConfiguration(
        environment: settings?["Env"]?.strings ?? [], entrypoint: settings?["Entrypoint"]?.strings ?? [],
        command: settings?["Cmd"]?.strings ?? [], workingDirectory: settings?["WorkingDir"]?.string ?? "",
        user: settings?["User"]?.string ?? ""))
  }

  private func malformed(_ what: String) -> Diagnostic {
    .error("the image configuration \(parts.config.digest.oci) \(what)", cause: .environment)
  }
}
