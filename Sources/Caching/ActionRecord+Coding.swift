import Digests

/// A record on the disk: a line with format and version, the XXH3-128 of the rest, then the fields.
///
/// Integers are LEB128 varints, texts are prefixed by their length, digests are 64 digits. The checksum finds damage by
/// the disk; the store belongs to one trust domain, so it need not withstand an adversary.
extension ActionRecord {
  private static let magic = Array("slipway action record 1\n".utf8)

  package var encoded: [UInt8] {
    var body = RecordWriter()
    body.text(key.description)
    body.text(label)
    body.text(rule)
    body.integer(Int64(verdict.rawValue))
    body.integer(Int64(exitCode))
    for value in [startedAt, completedAt, duration, cpuTime, peakMemory, attempt] { body.integer(value) }
    body.optional(log) { $0.file($1) }
    body.optional(junit) { $0.file($1) }
    body.list(outputs) { writer, output in
      writer.text(output.name)
      writer.text(output.path)
      writer.artifact(output.artifact)
    }
    body.raw(encodedExplanation)
    let checksum = body.bytes.withUnsafeBytes { Fingerprint(of: $0) }
    return Self.magic + Array(checksum.description.utf8) + body.bytes
  }

  /// `nil` when the bytes are not a whole, undamaged record of this version.
  package init?(decoding bytes: [UInt8]) {
    let start = Self.magic.count + 32
    guard bytes.count >= start, bytes.starts(with: Self.magic),
      let checksum = Fingerprint(hex: String(decoding: bytes[Self.magic.count..<start], as: UTF8.self)),
      bytes.withUnsafeBytes({ Fingerprint(of: UnsafeRawBufferPointer(rebasing: $0[start...])) }) == checksum
    else { return nil }
    do {
      var reader = RecordReader(bytes[start...])
      guard let key = Fingerprint(hex: try reader.text()) else { return nil }
      let label = try reader.text()
      let rule = try reader.text()
      guard let verdict = Verdict(rawValue: UInt8(clamping: try reader.integer())),
        let exitCode = Int32(exactly: try reader.integer())
      else { return nil }
      self.init(
        key: key, label: label, rule: rule, verdict: verdict, exitCode: exitCode, startedAt: try reader.integer(),
        completedAt: try reader.integer(), duration: try reader.integer())
      cpuTime = try reader.integer()
      peakMemory = try reader.integer()
      attempt = try reader.integer()
      log = try reader.optional { reader throws(RecordReader.Malformed) in try reader.file() }
      junit = try reader.optional { reader throws(RecordReader.Malformed) in try reader.file() }
      outputs = try reader.list { reader throws(RecordReader.Malformed) in
        Output(name: try reader.text(), path: try reader.text(), artifact: try reader.artifact())
      }
      encodedExplanation = Array(reader.rest)
    } catch { return nil }
  }
}

struct RecordWriter {
  private(set) var bytes: [UInt8] = []

  mutating func integer(_ value: Int64) {
    // Zigzag, so that small negative numbers are short too.
    var rest = UInt64(bitPattern: value << 1 ^ value >> 63)
    while rest > 127 {
      bytes.append(UInt8(truncatingIfNeeded: rest) | 128)
      rest >>= 7
    }
    bytes.append(UInt8(rest))
  }

  mutating func text(_ value: String) {
    integer(Int64(value.utf8.count))
    bytes += value.utf8
  }

  mutating func raw(_ value: [UInt8]) { bytes += value }

  mutating func optional<Value>(_ value: Value?, _ write: (inout RecordWriter, Value) -> Void) {
    integer(value == nil ? 0 : 1)
    if let value { write(&self, value) }
  }

  mutating func list<Value>(_ values: [Value], _ write: (inout RecordWriter, Value) -> Void) {
    integer(Int64(values.count))
    for value in values { write(&self, value) }
  }

  mutating func digest(_ value: Digest) { bytes += value.hex.utf8 }

  mutating func file(_ value: FileArtifact) {
    digest(value.digest)
    integer(Int64(value.size))
    integer(value.isExecutable ? 1 : 0)
  }

  mutating func artifact(_ value: Artifact) {
    switch value {
    case .file(let value):
      integer(0)
      file(value)
    case .directory(let value):
      integer(1)
      digest(value.root)
      integer(Int64(value.size))
    case .image(let value):
      integer(2)
      image(value)
    }
  }

  private mutating func image(_ value: ImageArtifact) {
    text(value.platform)
    list(value.layers) { writer, layer in
      writer.digest(layer.diffID)
      writer.digest(layer.digest)
      writer.integer(Int64(layer.size))
    }
    digest(value.config)
    integer(Int64(value.configSize))
    digest(value.manifest)
    integer(Int64(value.manifestSize))
    for texts in [value.run.environment, value.run.entrypoint, value.run.command] { list(texts) { $0.text($1) } }
    text(value.run.workingDirectory)
    text(value.run.user)
  }

  mutating func explanation(_ fields: [KeyField]) {
    list(fields) { writer, field in
      writer.text(field.category.rawValue)
      writer.text(field.name)
      writer.text(field.value)
    }
  }
}

struct RecordReader {
  struct Malformed: Error {}

  private(set) var rest: ArraySlice<UInt8>

  init(_ bytes: ArraySlice<UInt8>) { rest = bytes }

  mutating func integer() throws(Malformed) -> Int64 {
    var value: UInt64 = 0
    var shift: UInt64 = 0
    while shift < 64, let byte = rest.popFirst() {
      if shift == 63 && byte > 1 { break }
      value |= UInt64(byte & 127) << shift
      if byte < 128 { return Int64(bitPattern: value >> 1) ^ -Int64(bitPattern: value & 1) }
      shift += 7
    }
    throw Malformed()
  }

  /// A number that counts bytes or things that are still to come, each at least one byte.
  private mutating func count() throws(Malformed) -> Int {
    let value = try integer()
    guard value >= 0, value <= rest.count else { throw Malformed() }
    return Int(value)
  }

  private mutating func size() throws(Malformed) -> Int {
    let value = try integer()
    guard value >= 0 else { throw Malformed() }
    return Int(value)
  }

  mutating func text() throws(Malformed) -> String {
    let length = try count()
    guard let text = String(validating: rest.prefix(length), as: UTF8.self) else { throw Malformed() }
    rest = rest.dropFirst(length)
    return text
  }

  mutating func optional<Value>(_ read: (inout RecordReader) throws(Malformed) -> Value) throws(Malformed) -> Value? {
    try integer() == 0 ? nil : try read(&self)
  }

  mutating func list<Value>(_ read: (inout RecordReader) throws(Malformed) -> Value) throws(Malformed) -> [Value] {
    let length = try count()
    var values: [Value] = []
    values.reserveCapacity(length)
    for _ in 0..<length { values.append(try read(&self)) }
    return values
  }

  mutating func digest() throws(Malformed) -> Digest {
    guard rest.count >= 64, let digest = Digest(hex: String(decoding: rest.prefix(64), as: UTF8.self)) else {
      throw Malformed()
    }
    rest = rest.dropFirst(64)
    return digest
  }

  mutating func file() throws(Malformed) -> FileArtifact {
    FileArtifact(digest: try digest(), size: try size(), isExecutable: try integer() == 1)
  }

  mutating func artifact() throws(Malformed) -> Artifact {
    switch try integer() {
    case 0: return .file(try file())
    case 1: return .directory(DirectoryArtifact(root: try digest(), size: try size()))
    case 2: return .image(try image())
    default: throw Malformed()
    }
  }

  private mutating func image() throws(Malformed) -> ImageArtifact {
    let platform = try text()
    let layers = try list { reader throws(Malformed) in
      ImageArtifact.Layer(diffID: try reader.digest(), digest: try reader.digest(), size: try reader.size())
    }
    let config = try digest()
    let configSize = try size()
    let manifest = try digest()
    let manifestSize = try size()
    let run = ImageArtifact.RunConfiguration(
      environment: try texts(), entrypoint: try texts(), command: try texts(), workingDirectory: try text(),
      user: try text())
    return ImageArtifact(
      platform: platform, layers: layers, config: config, configSize: configSize, manifest: manifest,
      manifestSize: manifestSize, run: run)
  }

  private mutating func texts() throws(Malformed) -> [String] {
    try list { reader throws(Malformed) in try reader.text() }
  }

  static func explanation(_ bytes: [UInt8]) -> [KeyField]? {
    var reader = RecordReader(bytes[...])
    do {
      return try reader.list { reader throws(Malformed) in
        guard let category = KeyField.Category(rawValue: try reader.text()) else { throw Malformed() }
        return KeyField(category, try reader.text(), try reader.text())
      }
    } catch { return nil }
  }
}
