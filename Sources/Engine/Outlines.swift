import Diagnostics
import Caching
import Digests
import Files
import Glibc
import Manifests
import Planning
import SystemPackage

/// What is known of packages without reading them again: what their targets are called and what they depend on, and nothing
/// of what they say. That is enough for the graph, and for what a change reaches.
///
/// An outline is kept by what the package was read from: its manifests, the names of its files, the settings, the kinds,
/// and Slipway itself. A file that is torn reads as none.
struct Outlines {
  private static let magic: UInt64 = 0x3130_6c74_756f_6c73
  /// Beyond that, what was not asked for is forgotten.
  private static let sizeLimit = 8 << 20

  private let path: FilePath
  private var known: [Fingerprint: ArraySlice<UInt8>] = [:]
  private var added: [Fingerprint: [UInt8]] = [:]
  private var used: Set<Fingerprint> = []

  init(reading path: FilePath) {
    self.path = path
    guard let bytes = (try? Disk.contents(of: path.string, limit: 1 << 30)) ?? nil, bytes.count >= 24 else { return }
    bytes.withUnsafeBytes { all in
      let content = UnsafeRawBufferPointer(rebasing: all[..<(all.count - 16)])
      var reader = StateReader(content)
      var tail = StateReader(UnsafeRawBufferPointer(rebasing: all[(all.count - 16)...]))
      guard reader.word() == Self.magic, tail.fingerprint() == Fingerprint(of: content) else { return }
      while reader.position < content.count {
        let key = reader.fingerprint()
        let count = Int(truncatingIfNeeded: reader.word())
        guard reader.isSound, count >= 0, count <= content.count - reader.position else { return }
        known[key] = bytes[reader.position..<reader.position + count]
        reader.position += count
      }
    }
  }

  /// Several packages at once, on all processors.
  mutating func packages(_ keys: [(path: WorkspacePath, key: Fingerprint)]) -> [LoadedPackage?] {
    let found = keys.map { known[$0.key] }
    for (key, bytes) in zip(keys, found) where bytes != nil { used.insert(key.key) }
    let pairs = zip(keys.map(\.path), found).map { (path: $0, bytes: $1) }
    return mapInParallel(pairs, chunk: 32) { pair in
      pair.bytes.flatMap { bytes in
        bytes.withUnsafeBytes { bytes in
          var reader = StateReader(bytes)
          return PackageDeclaration(outline: &reader, path: pair.path).map { LoadedPackage(declaration: $0, files: []) }
        }
      }
    }
  }

  mutating func note(_ package: LoadedPackage, key: Fingerprint) {
    if known[key] != nil { return }
    var writer = StateWriter()
    package.declaration.writeOutline(to: &writer)
    added[key] = writer.bytes
  }

  /// Replaces the file, if there is something new; to fail to costs nothing but time.
  func save() {
    if added.isEmpty { return }
    var writer = StateWriter()
    writer.word(Self.magic)
    let size = known.values.reduce(0) { $0 + $1.count } + added.values.reduce(0) { $0 + $1.count }
    for (key, bytes) in known where size <= Self.sizeLimit || used.contains(key) { writer.entry(key, bytes) }
    for (key, bytes) in added { writer.entry(key, bytes[...]) }
    writer.fingerprint(writer.bytes.withUnsafeBytes { Fingerprint(of: $0) })
    try? Disk.replace(path, with: writer.bytes)
  }
}

extension Session {
  private var outlinesPath: FilePath { workspace.root.appending(".slipway").appending("outlines") }

  /// Begins to read what is known of packages, for a command that is about to ask.
  package func readOutlinesAhead() { outlinesAhead = Background { [path = outlinesPath] in Outlines(reading: path) } }

  /// What is known of packages without reading them.
  func outlines() -> Outlines {
    defer { outlinesAhead = nil }
    return outlinesAhead?.take() ?? Outlines(reading: outlinesPath)
  }
}

extension StateWriter {
  fileprivate mutating func entry(_ key: Fingerprint, _ bytes: ArraySlice<UInt8>) {
    fingerprint(key)
    word(UInt64(bytes.count))
    self.bytes += bytes
  }
}

/// Packages of a source, by their outlines where these are known.
final class OutlinedPackages<Source: PackageSource>: PackageSource {
  private let source: Source
  private let whole: Set<WorkspacePath>
  private let keys: ([WorkspacePath]) -> [Fingerprint?]
  private(set) var outlines: Outlines
  /// Those of which only the outline was read.
  private(set) var outlined: Set<WorkspacePath> = []

  /// - Parameters:
  ///   - whole: The packages of which all is needed.
  ///   - keys: What packages are read from, but for the settings and kinds, which `definition` is of; `nil` for what is
  ///     no package, or too new to be told from another.
  init(
    _ source: Source, _ outlines: Outlines, whole: Set<WorkspacePath>, definition: Fingerprint,
    keys: @escaping ([WorkspacePath]) -> [Fingerprint?]
  ) {
    self.source = source
    self.outlines = outlines
    self.whole = whole
    let common = FingerprintHasher()
    common.update("outline 1, rules \(ActionDescription.format), \(Workspace.platform)")
    withUnsafeBytes(of: definition) { common.update($0) }
    var status = stat()
    if stat("/proc/self/exe", &status) == 0 {
      for word in [status.st_size, Int(status.st_ino), status.st_mtim.tv_sec, status.st_mtim.tv_nsec] {
        common.update(UInt64(bitPattern: Int64(word)))
      }
    }
    let start = common.finish()
    self.keys = { paths in
      zip(paths, keys(paths)).map { path, key in
        key.map { key in
          let hasher = FingerprintHasher()
          withUnsafeBytes(of: start) { hasher.update($0) }
          withUnsafeBytes(of: key) { hasher.update($0) }
          hasher.update(path.string)
          return hasher.finish()
        }
      }
    }
  }

  func packages(at paths: [WorkspacePath], diagnostics: inout DiagnosticList) -> [LoadedPackage?] {
    let keys = keys(paths)
    var result: [LoadedPackage?] = Array(repeating: nil, count: paths.count)
    let asked = paths.indices.filter { keys[$0] != nil && !whole.contains(paths[$0]) }
    let found = outlines.packages(asked.compactMap { index in keys[index].map { (paths[index], $0) } })
    for (index, package) in zip(asked, found) {
      result[index] = package
      if package != nil { outlined.insert(paths[index]) }
    }
    let missing = paths.indices.filter { result[$0] == nil }
    let before = diagnostics.hasErrors
    for (index, package) in zip(missing, source.packages(at: missing.map { paths[$0] }, diagnostics: &diagnostics)) {
      result[index] = package
      // Whoever asks again is told the mistakes again.
      if let package, let key = keys[index], before == diagnostics.hasErrors { outlines.note(package, key: key) }
    }
    return result
  }
}

extension PackageDeclaration {
  fileprivate func writeOutline(to writer: inout StateWriter) {
    writer.text(kind ?? "")
    writer.text(defaultTarget ?? "")
    writer.list(targets) { writer, target in
      writer.text(target.name.value)
      writer.text(target.rule.rawValue)
      for text in [target.image, target.base, target.plan] { writer.text(text?.value ?? "") }
      for inputs in [target.sources, target.inputs] { writer.list(inputs.compactMap(\.reference)) { $0.reference($1) } }
      writer.list(target.layers) { $0.text($1.from.value) }
      writer.list(target.tests) { $0.reference(($1.label.value, $1.isOptional)) }
      writer.list(target.needs) { $0.text($1.value) }
      switch target.when?.value {
      case nil: writer.text("")
      case .affected(let label): writer.text("a" + label)
      case .failed(let label): writer.text("f" + label)
      }
      writer.list(target.outputs) { $0.text($1.name.value) }
    }
  }

  /// - Returns: `nil` for bytes that are no outline.
  fileprivate init?(outline reader: inout StateReader, path: WorkspacePath) {
    let place = Place(SourceText(file: path.string, bytes: []), line: 1, column: 1, length: 1)
    func text(_ reader: inout StateReader) -> Located<String>? {
      let text = reader.text()
      return text.isEmpty ? nil : Located(text, at: place)
    }
    func inputs(_ reader: inout StateReader) -> [Input] {
      reader.list { reader in
        let (label, isOptional) = reader.reference()
        return Input(source: Located(.label(label), at: place), isOptional: isOptional)
      }
    }
    let kind = reader.text()
    let defaultTarget = reader.text()
    let targets = reader.list { reader -> TargetDeclaration in
      let name = Located(reader.text(), at: place)
      var target = TargetDeclaration(name: name, rule: Rule(rawValue: reader.text()) ?? .files)
      (target.image, target.base, target.plan) = (text(&reader), text(&reader), text(&reader))
      (target.sources, target.inputs) = (inputs(&reader), inputs(&reader))
      target.layers = reader.list { .init(from: Located($0.text(), at: place), to: name) }
      target.tests = reader.list { reader in
        let (label, isOptional) = reader.reference()
        return .init(label: Located(label, at: place), isOptional: isOptional)
      }
      target.needs = reader.list { Located($0.text(), at: place) }
      let condition = reader.text()
      if let sort = condition.first {
        let label = String(condition.dropFirst())
        target.when = Located(sort == "a" ? .affected(label) : .failed(label), at: place)
      }
      target.outputs = reader.list { .init(name: Located($0.text(), at: place), path: name) }
      return target
    }
    guard reader.isSound else { return nil }
    self.init(
      path: path, kind: kind.isEmpty ? nil : kind, metadata: nil, targets: targets,
      defaultTarget: defaultTarget.isEmpty ? nil : defaultTarget)
  }
}

extension Input {
  fileprivate var reference: (label: String, isOptional: Bool)? {
    if case .label(let label) = source.value { return (label, isOptional) }
    return nil
  }
}

extension StateWriter {
  fileprivate mutating func list<Element>(_ elements: [Element], _ write: (inout Self, Element) -> Void) {
    word(UInt64(elements.count))
    for element in elements { write(&self, element) }
  }

  fileprivate mutating func reference(_ reference: (label: String, isOptional: Bool)) {
    text((reference.isOptional ? "?" : "!") + reference.label)
  }
}

extension StateReader {
  fileprivate mutating func list<Element>(_ read: (inout Self) -> Element) -> [Element] {
    let count = word()
    // Each element takes a word at least.
    guard count <= UInt64((bytes.count - position) / 8) else {
      isSound = false
      return []
    }
    return (0..<count).map { _ in read(&self) }
  }

  fileprivate mutating func reference() -> (label: String, isOptional: Bool) {
    let text = text()
    return (String(text.dropFirst()), text.hasPrefix("?"))
  }
}
