import Caching
import Diagnostics
import Digests
import Files
import Graph
import Manifests

/// Makes a ready target's action from what its dependencies gave.
///
/// Keys come late (Bazel's and Shake's early cutoff): a dependency that ran again but gave equal bytes changes nothing.
package struct ActionPlanner {
  package let targets: [Label: Target]
  /// This machine's, which targets are for unless they say otherwise.
  package let platform: String
  /// Outputs of every target that has finished.
  package var outputs: [Label: [ActionRecord.Output]] = [:]
  /// Fingerprints of source files, from the index.
  package let fingerprints: ([WorkspacePath]) throws -> [SourceFile]
  /// The bytes of a file that ships with Slipway.
  package let bundled: (String) -> [UInt8]?

  package init(
    targets: [Label: Target], platform: String, fingerprints: @escaping ([WorkspacePath]) throws -> [SourceFile],
    bundled: @escaping (String) -> [UInt8]?
  ) {
    self.targets = targets
    self.platform = platform
    self.fingerprints = fingerprints
    self.bundled = bundled
  }

  package func platform(of target: Target) -> String { target.platform ?? platform }

  /// Where a test may write its JUnit XML; collected like an output.
  package static let junitPath = "/tmp/slipway-junit.xml"
  /// The argv[0] that means: run the image's entrypoint and check the protocol messages that it prints.
  package static let protocolCheck = "slipway-protocol"

  // MARK: Commands

  /// The action of a `fetch`, `action` or `test` target.
  package func action(of target: Target) throws -> ActionDescription {
    let declaration = target.declaration
    let image = try image(of: target)
    var named: [String: String] = [:]
    var inputs = try target.inputs.flatMap { try placed($0, names: &named) }
    if let plan = target.plan {
      inputs += try placed(ResolvedInput(folder: nil, source: .target(plan), place: declaration.place), names: &named)
    }
    inputs = try unique(inputs, target)
    let root = Self.sourceRoot(target.label.package)
    let workingDirectory = declaration.cwd?.value ?? root
    func fill(_ text: Located<TextTemplate>) throws -> String {
      try text.value.filled { reference throws in
        switch reference {
        case .junit: return Self.junitPath
        case .output(let name):
          if let output = declaration.outputs.first(where: { $0.name.value == name }) { return output.path.value }
          throw Diagnostic.error("`\(reference)` names no output of \(target.label)", at: text.span)
        case .input(let name):
          if let path = named[name] { return path }
          throw Diagnostic.error(
            "`\(reference)` names no input of \(target.label)", at: text.span,
            hints: didYouMean(name, among: named.keys.sorted()).map { ["did you mean `${in:\($0)}`?"] } ?? [])
        }
      }
    }
    var environment: [String: String] = [:]
    for variable in image.run.environment {
      let name = variable.prefix { $0 != "=" }
      environment[String(name)] = String(variable.dropFirst(name.count + 1))
    }
    for (name, value) in Self.fixedEnvironment where name != "PATH" || environment[name] == nil {
      environment[name] = value
    }
    for variable in declaration.env { environment[variable.name.value] = try fill(variable.value) }
    return ActionDescription(
      rule: target.rule, arguments: try declaration.run.map(fill),
      environment: environment.sorted { $0.key < $1.key }.map { ($0.key, $0.value) },
      workingDirectory: workingDirectory,
      outputs: declaration.outputs.map { ($0.name.value, $0.path.value) }, platform: platform(of: target),
      network: declaration.network?.value ?? (target.rule == .fetch ? .host : .none), image: image, inputs: inputs,
      secrets: declaration.secrets.map(\.name.value), stdin: try declaration.stdin.map(fill))
  }

  /// What every action sees besides its own and its image's variables (definitions: "What an action sees").
  package static let fixedEnvironment: [(String, String)] = [
    ("HOME", "/tmp"), ("LC_ALL", "C.UTF-8"),
    ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
    ("SOURCE_DATE_EPOCH", "315532800"), ("TMPDIR", "/tmp"), ("TZ", "UTC"),
  ]

  /// The key of a `fetch`: its bytes are a function of the plan alone, so neither image nor script is in it.
  package func fetchKey(of target: Target) throws -> ActionKey {
    if !target.declaration.urls.isEmpty {
      return ActionKey { sink in
        sink.field(.rule, "fetch", ActionDescription.format)
        for download in target.declaration.urls {
          sink.field(.dependency, download.name.value, download.sha256.value)
          sink.field(.output, download.name.value, download.path.value + (download.isExecutable ? " x" : ""))
        }
      }
    }
    guard let plan = target.plan, case .file(let file)? = try artifact(plan, for: target).first?.artifact else {
      throw Diagnostic.error("\(target.label) has no plan that is a file", at: target.declaration.place.span)
    }
    return ActionKey { sink in
      sink.field(.rule, "fetch", ActionDescription.format)
      sink.field(.dependency, "plan", file.digest.hex)
      for output in target.declaration.outputs { sink.field(.output, output.name.value, output.path.value) }
    }
  }

  /// The key of a `pull`: the digest alone, from whatever registry or mirror it comes.
  package func pullKey(of digest: Digest, for target: Target) -> ActionKey {
    ActionKey { sink in
      sink.field(.rule, "pull", ActionDescription.format)
      sink.field(.platform, "platform", platform(of: target))
      sink.field(.image, "digest", digest.oci)
    }
  }

  package func image(of target: Target) throws -> ImageArtifact {
    guard let reference = target.image else {
      throw Diagnostic.error("\(target.label) needs an `image`", at: target.declaration.place.span)
    }
    for output in try artifact(reference, for: target) {
      if case .image(let image) = output.artifact { return image }
    }
    throw Diagnostic.error("\(reference.label) gives no image", at: target.declaration.place.span)
  }

  // MARK: Layers

  /// What an image's layer holds: paths below `to`.
  package struct LayerContent: Sendable {
    package var to: String
    package var entries: [PlacedInput]
    /// Layers of a root file system, taken as they are.
    package var whole: [ImageArtifact.Layer] = []
  }

  package func layers(of target: Target) throws -> [LayerContent] {
    try target.layers.map { layer in
      if targets[layer.from.label]?.rule == .rootfs {
        guard layer.to == "/" else {
          throw Diagnostic.error(
            "a root file system can only be a layer at `/`, not at `\(layer.to)`", at: layer.place.span)
        }
        let images =
          try artifact(layer.from, for: target).compactMap { output in
            if case .image(let image) = output.artifact { return image }
            return nil
          } as [ImageArtifact]
        return LayerContent(to: "/", entries: [], whole: images.flatMap(\.layers))
      }
      var names: [String: String] = [:]
      let input = ResolvedInput(folder: layer.to, source: .target(layer.from), place: layer.place)
      return LayerContent(to: layer.to, entries: try unique(try placed(input, names: &names), target))
    }
  }

  /// The key of an `image`: its base whole, labels included, its layers and its configuration.
  package func imageKey(of target: Target, base: ImageArtifact?, layers: [LayerContent]) -> ActionKey {
    let config = target.declaration.config
    return ActionKey { sink in
      sink.field(.rule, "image", ActionDescription.format)
      sink.field(.platform, "platform", platform(of: target))
      sink.field(.image, "base", base?.config.hex ?? "scratch")
      if let base { base.describeRun(into: &sink) }
      for (index, layer) in layers.enumerated() {
        sink.field(.image, "new layer \(index)", layer.to)
        for layer in layer.whole { sink.field(.image, "root file system", layer.digest.hex) }
        for entry in layer.entries { entry.describe(into: &sink) }
      }
      for (index, word) in (config.entrypoint ?? []).enumerated() {
        sink.field(.setting, "entrypoint \(index)", word.value)
      }
      for (index, word) in (config.command ?? []).enumerated() { sink.field(.setting, "command \(index)", word.value) }
      for variable in config.env { sink.field(.env, variable.name.value, variable.value.value) }
      for variable in config.labels { sink.field(.setting, "label \(variable.name.value)", variable.value.value) }
      if let user = config.user { sink.field(.setting, "user", user.name.value + (user.onlyIfPresent ? "?" : "")) }
      if let workdir = config.workdir { sink.field(.setting, "workdir", workdir.value) }
      for port in config.exposedPorts { sink.field(.setting, "port", port.value) }
    }
  }

  /// The key of a `rootfs`.
  ///
  /// `lock` is the lock's text. Without one the target floats: its recipe stands for what it gave at first use, and the
  /// record names the archive's state of that time.
  package func rootfsKey(of target: Target, tool: String, lock: String?, keyring: Digest? = nil) -> ActionKey {
    let config = target.declaration.config
    let root = target.declaration.rootfs
    return ActionKey { sink in
      sink.field(.rule, "rootfs", ActionDescription.format)
      sink.field(.platform, "platform", platform(of: target))
      sink.field(.setting, "mmdebstrap", tool)
      sink.field(.setting, "suite", root?.suite.value ?? "")
      sink.field(.setting, "variant", root?.variant?.value ?? "minbase")
      sink.field(.setting, "mirror", root?.mirror?.value ?? "")
      sink.field(.setting, "snapshot", root?.snapshot?.value ?? "")
      for component in root?.components ?? [] { sink.field(.setting, "component", component.value) }
      for package in root?.packages ?? [] { sink.field(.setting, "package", package.value) }
      for path in root?.exclude ?? [] { sink.field(.setting, "exclude", path.value) }
      for hook in root?.customize ?? [] { sink.field(.setting, "customize", hook.value) }
      sink.field(.setting, "lock", lock.map { Digest(of: $0).hex } ?? "floating")
      if let keyring { sink.field(.setting, "keyring", keyring.hex) }
      for variable in config.env { sink.field(.env, variable.name.value, variable.value.value) }
      for variable in config.labels { sink.field(.setting, "label \(variable.name.value)", variable.value.value) }
      for word in config.entrypoint ?? [] { sink.field(.setting, "entrypoint", word.value) }
      for (index, word) in (config.command ?? []).enumerated() { sink.field(.setting, "command \(index)", word.value) }
      if let user = config.user { sink.field(.setting, "user", user.name.value) }
      if let workdir = config.workdir { sink.field(.setting, "workdir", workdir.value) }
    }
  }

  // MARK: Placing

  /// The outputs that a reference means: the named one, or all.
  private func artifact(_ reference: TargetOutput, for target: Target) throws -> [ActionRecord.Output] {
    guard let all = outputs[reference.label] else {
      throw Diagnostic.error("\(reference.label) was not built before \(target.label)", cause: .internal)
    }
    guard let name = reference.output else { return all }
    return all.filter { $0.name == name }
  }

  static func sourceRoot(_ package: WorkspacePath) -> String { package.isRoot ? "/src" : "/src/\(package)" }

  private func placed(_ input: ResolvedInput, names: inout [String: String]) throws -> [PlacedInput] {
    switch input.source {
    case .files(let files):
      let folder = input.folder ?? "/src"
      for file in files { names[file.path.name] = Self.join(folder, file.below) }
      let found = try fingerprints(files.map(\.path))
      return zip(files, found).map { PlacedInput(path: Self.join(folder, $0.below), content: .source($1)) }
    case .bundled(let path):
      guard let bytes = bundled(path) else {
        throw Diagnostic.error("`@slipway//\(path)` is no file that ships with slipway", at: input.place.span)
      }
      let place = Self.join(input.folder ?? "/slipway", input.folder == nil ? path : String(Self.lastComponent(path)))
      names[String(Self.lastComponent(path))] = place
      let print = bytes.withUnsafeBytes { Fingerprint(of: $0) }
      return [PlacedInput(path: place, content: .bundled(path: path, print))]
    case .target(let reference): return try placed(reference, in: input.folder, place: input.place, names: &names)
    }
  }

  private func placed(_ reference: TargetOutput, in folder: String?, place: Place, names: inout [String: String]) throws
    -> [PlacedInput]
  {
    guard let target = targets[reference.label] else { return [] }
    let root = Self.sourceRoot(reference.label.package)
    if target.rule == .files {
      let found = try fingerprints(target.sources)
      var all = found.map { file in
        PlacedInput(
          path: Self.join(folder ?? root, file.path.relative(to: reference.label.package)), content: .source(file))
      }
      for part in target.parts { all += try placed(TargetOutput(part), in: folder, place: place, names: &names) }
      names[reference.label.withoutPlatform.name] = folder ?? root
      return all
    }
    var all: [PlacedInput] = []
    for output in try artifact(reference, for: target) {
      let path: String
      switch output.artifact {
      case .file(let file):
        path = Self.join(folder ?? root, folder == nil ? output.path : String(Self.lastComponent(output.path)))
        all.append(PlacedInput(path: path, content: .file(file)))
      case .directory(let directory):
        path = folder ?? Self.join(root, output.path)
        all.append(PlacedInput(path: path, content: .directory(directory)))
      case .image:
        throw Diagnostic.error(
          "`\(reference.label)` is an image; an image cannot be an input", at: place.span,
          hints: ["run the command in it: image: \(reference.label)"])
      }
      names[output.name] = path
      let name = reference.label.withoutPlatform.name
      if names[name] == nil { names[name] = path }
    }
    return all
  }

  /// By path; the same content twice is one, different content at one path is an error.
  private func unique(_ inputs: [PlacedInput], _ target: Target) throws -> [PlacedInput] {
    var result: [PlacedInput] = []
    for input in inputs.sorted(by: { $0.path.utf8.lexicographicallyPrecedes($1.path.utf8) }) {
      if let last = result.last, last.path == input.path {
        guard last.content == input.content else {
          throw Diagnostic.error(
            "two inputs of \(target.label) claim `\(input.path)`", at: target.declaration.place.span)
        }
        continue
      }
      result.append(input)
    }
    return result
  }

  static func join(_ folder: String, _ below: String) -> String {
    below.isEmpty ? folder : folder.hasSuffix("/") ? folder + below : folder + "/" + below
  }

  static func lastComponent(_ path: String) -> Substring { path.split(separator: "/").last ?? "" }
}

extension PlacedInput.Content: Equatable {
  package static func == (a: Self, b: Self) -> Bool {
    switch (a, b) {
    case (.source(let x), .source(let y)): x.mode == y.mode && x.fingerprint == y.fingerprint
    case (.file(let x), .file(let y)): x == y
    case (.directory(let x), .directory(let y)): x == y
    case (.bundled(let x, _), .bundled(let y, _)): x == y
    default: false
    }
  }
}
