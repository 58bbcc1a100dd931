import Diagnostics
import Files
import SeededRandom
import Testing

@testable import Manifests

struct RobustnessTests {
  private static let tokens = [
    "{", "}", "[", "]", ":", ": ", "- ", "\n", "  ", "\t", "\"", "'", "|", ">", "&a ", "*a", "!t ", "<<", "---\n",
    "...\n",
    "${", "}", "$${", "${data.a:-", "|snake}", "${in:", "//", "#", "?", "~", "%", "@slipway//", "\u{feff}", "\u{85}",
    "\u{2028}",
    "1e999", "0x", ".inf", "999999999999999999999", "rule: test", "+run", "\u{0}", "é", "🚢",
  ].map { Array($0.utf8) }

  private static func mutate(_ bytes: [UInt8], _ random: inout SeededGenerator) -> [UInt8] {
    var bytes = bytes
    for _ in 0..<Int.random(in: 1...6, using: &random) {
      let at = Int.random(in: 0...bytes.count, using: &random)
      switch Int.random(in: 0..<5, using: &random) {
      case 0: bytes.insert(UInt8.random(in: 0...255, using: &random), at: at)
      case 1: if at < bytes.count { bytes[at] = UInt8.random(in: 0...255, using: &random) }
      case 2: bytes.removeSubrange(at..<min(bytes.count, at + Int.random(in: 0...8, using: &random)))
      case 3: bytes.insert(contentsOf: tokens[Int.random(in: 0..<tokens.count, using: &random)], at: at)
      default:
        let end = min(bytes.count, at + Int.random(in: 0...40, using: &random))
        bytes.insert(contentsOf: bytes[at..<end], at: Int.random(in: 0...bytes.count, using: &random))
      }
    }
    return bytes
  }

  /// Everything that reads a user's bytes, and everything that shows them.
  private static func exercise(_ bytes: [UInt8]) {
    for schema in CorpusFile.Schema.allCases {
      let source = SourceText(file: "x", bytes: bytes, role: schema == .metadata ? .data : .template)
      let (diagnostics, isAccepted) = CorpusFile.decode(source, schema)
      for diagnostic in diagnostics { _ = diagnostic.rendered }
      #expect(isAccepted == !diagnostics.contains { $0.severity == .error }, "\(bytes)")
    }
    if let node = try? YAMLParser.parse(SourceText(file: "x", bytes: bytes)) { _ = node.jsonText(sortedKeys: true) }
    load(metadata: nil, targets: bytes)
    load(metadata: bytes, targets: nil)
  }

  private static let context: LoadingContext = {
    var list = DiagnosticList()
    let kinds = [pythonKind, metadataOnlyKind].compactMap {
      Kind.decode(SourceText(file: "kind", text: $0), diagnostics: &list)
    }
    return LoadingContext(settings: WorkspaceSettings(), kinds: kinds, platform: "linux/amd64")
  }()

  private static func load(metadata: [UInt8]?, targets: [UInt8]?) {
    var list = DiagnosticList()
    let files = ["main.py", "poetry.lock", "pyproject.toml", "unit_tests/test_a.py"]
    let package = loadPackage(
      path: WorkspacePath(unchecked: "a/b"),
      metadata: SourceText(file: "m", bytes: metadata ?? Array(sampleMetadata.utf8), role: .data),
      targets: targets.map { SourceText(file: "t", bytes: $0) }, files: files, context: context, diagnostics: &list)
    for diagnostic in list.sorted { _ = diagnostic.rendered }
    for target in package?.targets ?? [] { _ = target.canonicalText }
  }

  @Test(arguments: 0..<8 as Range<UInt64>)
  func `mutated files never trap and take bounded time`(seed: UInt64) throws {
    var random = SeededGenerator(seed: seed)
    let files = try CorpusFile.all()
    let start = ContinuousClock.now
    for _ in 0..<250 {
      let file = files[Int.random(in: 0..<files.count, using: &random)]
      Self.exercise(Self.mutate(file.source.bytes, &random))
    }
    #expect(ContinuousClock.now - start < .seconds(120))
  }

  @Test(arguments: 0..<4 as Range<UInt64>)
  func `random bytes and random tokens never trap`(seed: UInt64) {
    var random = SeededGenerator(seed: seed &+ 1000)
    for _ in 0..<150 {
      let count = Int.random(in: 0...80, using: &random)
      Self.exercise((0..<count).map { _ in UInt8.random(in: 0...255, using: &random) })
      Self.exercise(
        (0..<count).flatMap { _ in Self.tokens[Int.random(in: 0..<Self.tokens.count, using: &random)] })
    }
  }

  @Test func `a file of nothing but mistakes is answered in bounded time`() {
    var text = "targets:\n"
    for index in 0..<5_000 { text += "  t\(index): {rule: tset, timeout: 5, run: [], envv: 1}\n" }
    let start = ContinuousClock.now
    let (diagnostics, _) = CorpusFile.decode(SourceText(file: "x", text: text), .targets)
    #expect(diagnostics.count == 20_000)
    #expect(ContinuousClock.now - start < .seconds(60))
  }
}
