import Caching
import Digests
import FoundationEssentials
import RemoteExecutionAPI
import SwiftProtobuf

/// Action records as others keep them: a REAPI `ActionResult`, and beside it what that has no field for.
///
/// Whoever reads one reads what a stranger may have written: every digest, size and path is looked at, and a result whose
/// outputs are not the declared ones is none.
extension ActionRecord {
  /// Without a signature.
  package var actionResult: REAPIActionResult { actionResult(carrying: []) }

  func actionResult(carrying blobs: [[UInt8]]) -> REAPIActionResult {
    var result = REAPIActionResult()
    var details = SlipwayActionDetails()
    details.rule = rule
    details.durationMs = duration
    details.cpuMs = cpuTime
    details.peakMemory = peakMemory
    details.carried = blobs.map { Data($0) }
    if let junit { details.junit = SlipwayActionDetails.File(junit) }
    for output in outputs {
      var described = SlipwayActionDetails.Output()
      described.name = output.name
      described.path = output.path
      switch output.artifact {
      case .file(let file):
        var entry = REAPIOutputFile()
        entry.path = output.path.isEmpty ? output.name : output.path
        entry.digest = REAPIDigest(file.digest, size: file.size)
        entry.isExecutable = file.isExecutable
        result.outputFiles.append(entry)
      case .directory(let directory):
        var entry = REAPIOutputDirectory()
        entry.path = output.path
        entry.rootDirectoryDigest = REAPIDigest(directory.root, size: directory.size)
        result.outputDirectories.append(entry)
      case .image(let image): described.image = SlipwayActionDetails.Image(image)
      }
      details.outputs.append(described)
    }
    result.exitCode = exitCode
    if let log { result.stdoutDigest = REAPIDigest(log.digest, size: log.size) }
    result.executionMetadata.executionStartTimestamp = Google_Protobuf_Timestamp(milliseconds: startedAt)
    result.executionMetadata.executionCompletedTimestamp = Google_Protobuf_Timestamp(milliseconds: completedAt)
    if let packed = try? Google_Protobuf_Any(message: details) {
      result.executionMetadata.auxiliaryMetadata = [packed]
    }
    return result
  }

  /// The record of a success; nil for a failure, and for whatever the request's action cannot have given.
  package init?(_ result: REAPIActionResult, for request: SharedRequest) {
    guard result.exitCode == 0, let details = result.details, details.rule == request.rule,
      let startedAt = result.executionMetadata.executionStartTimestamp.milliseconds,
      let completedAt = result.executionMetadata.executionCompletedTimestamp.milliseconds,
      details.durationMs >= 0, details.cpuMs >= 0, details.peakMemory >= 0
    else { return nil }
    if let declared = request.outputs {
      guard declared.count == details.outputs.count,
        zip(declared, details.outputs).allSatisfy({ $0.name == $1.name && $0.path == $1.path })
      else { return nil }
    }
    var files: [String: FileArtifact] = [:]
    for file in result.outputFiles {
      guard let digest = file.digest.value, files[file.path] == nil else { return nil }
      files[file.path] = FileArtifact(digest: digest, size: Int(file.digest.sizeBytes), isExecutable: file.isExecutable)
    }
    var directories: [String: DirectoryArtifact] = [:]
    for directory in result.outputDirectories {
      guard let digest = directory.rootDirectoryDigest.value, directories[directory.path] == nil else { return nil }
      directories[directory.path] = DirectoryArtifact(
        root: digest, size: Int(directory.rootDirectoryDigest.sizeBytes))
    }
    var outputs: [Output] = []
    for output in details.outputs {
      let components = output.path.split(separator: "/", omittingEmptySubsequences: false)
      guard Self.isSound(output.name), output.path.isEmpty || components.allSatisfy(Self.isSound) else { return nil }
      let artifact: Artifact
      if output.hasImage {
        guard let image = ImageArtifact(output.image) else { return nil }
        artifact = .image(image)
      } else if let file = files[output.path.isEmpty ? output.name : output.path] {
        artifact = .file(file)
      } else if let directory = directories[output.path] {
        artifact = .directory(directory)
      } else {
        return nil
      }
      outputs.append(Output(name: output.name, path: output.path, artifact: artifact))
    }
    self.init(
      key: request.key, label: request.label, rule: request.rule, verdict: .passed, startedAt: startedAt,
      completedAt: completedAt, duration: details.durationMs, outputs: outputs)
    cpuTime = details.cpuMs
    peakMemory = details.peakMemory
    if result.hasStdoutDigest {
      guard let digest = result.stdoutDigest.value else { return nil }
      log = FileArtifact(digest: digest, size: Int(result.stdoutDigest.sizeBytes), isExecutable: false)
    }
    if details.hasJunit {
      guard let file = FileArtifact(details.junit) else { return nil }
      junit = file
    }
  }

  /// A name of which no path that leads elsewhere can be made.
  private static func isSound(_ name: some StringProtocol) -> Bool {
    !name.isEmpty && name != "." && name != ".." && !name.utf8.contains(0) && !name.utf8.contains(UInt8(ascii: "/"))
  }
}

extension REAPIActionResult {
  /// Slipway's own part of it, if it is there.
  var details: SlipwayActionDetails? {
    for packed in executionMetadata.auxiliaryMetadata where packed.isA(SlipwayActionDetails.self) {
      return try? SlipwayActionDetails(unpackingAny: packed)
    }
    return nil
  }
}

extension REAPIDigest {
  /// nil for what is no SHA-256 of a sensible size.
  package var value: Digest? { sizeBytes >= 0 && sizeBytes <= 1 << 44 ? Digest(hex: hash) : nil }
}

extension SlipwayActionDetails.File {
  init(_ file: FileArtifact) {
    self.init()
    hash = file.digest.hex
    sizeBytes = Int64(file.size)
    isExecutable = file.isExecutable
  }
}

extension FileArtifact {
  init?(_ file: SlipwayActionDetails.File) {
    guard let digest = Digest(hex: file.hash), (0...1 << 44).contains(file.sizeBytes) else { return nil }
    self.init(digest: digest, size: Int(file.sizeBytes), isExecutable: file.isExecutable)
  }
}

extension SlipwayActionDetails.Image {
  init(_ image: ImageArtifact) {
    self.init()
    platform = image.platform
    layers = image.layers.map { layer in
      var result = SlipwayActionDetails.Layer()
      result.diffID = layer.diffID.hex
      result.hash = layer.digest.hex
      result.sizeBytes = Int64(layer.size)
      return result
    }
    configHash = image.config.hex
    configSize = Int64(image.configSize)
    manifestHash = image.manifest.hex
    manifestSize = Int64(image.manifestSize)
    environment = image.run.environment
    entrypoint = image.run.entrypoint
    command = image.run.command
    workingDirectory = image.run.workingDirectory
    user = image.run.user
  }
}

extension ImageArtifact {
  init?(_ image: SlipwayActionDetails.Image) {
    func size(_ value: Int64) -> Int? { (0...1 << 44).contains(value) ? Int(value) : nil }
    guard let config = Digest(hex: image.configHash), let configSize = size(image.configSize),
      let manifest = Digest(hex: image.manifestHash), let manifestSize = size(image.manifestSize)
    else { return nil }
    var layers: [Layer] = []
    for layer in image.layers {
      guard let diffID = Digest(hex: layer.diffID), let digest = Digest(hex: layer.hash),
        let size = size(layer.sizeBytes)
      else { return nil }
      layers.append(Layer(diffID: diffID, digest: digest, size: size))
    }
    self.init(
      platform: image.platform, layers: layers, config: config, configSize: configSize, manifest: manifest,
      manifestSize: manifestSize,
      run: RunConfiguration(
        environment: image.environment, entrypoint: image.entrypoint, command: image.command,
        workingDirectory: image.workingDirectory, user: image.user))
  }
}

extension Google_Protobuf_Timestamp {
  init(milliseconds: Int64) {
    self.init()
    seconds = milliseconds / 1000
    nanos = Int32(milliseconds % 1000) * 1_000_000
  }

  /// Since 1970; nil outside of the years 1970 to 9999.
  var milliseconds: Int64? {
    guard (0...253_402_300_799).contains(seconds), (0..<1_000_000_000).contains(nanos) else { return nil }
    return seconds * 1000 + Int64(nanos) / 1_000_000
  }
}
