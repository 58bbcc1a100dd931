import Caching
import Digests
import RemoteExecutionAPI
import Testing

@testable import RemoteCaching

/// Results as others keep them.
@Suite struct ResultTests {
  private let fixture: Fixture
  private let record: ActionRecord
  private let request: SharedRequest

  init() throws {
    fixture = try Fixture()
    record = try fixture.record()
    request = fixture.request(record)
  }

  private func through(_ result: REAPIActionResult) throws -> REAPIActionResult {
    try REAPIActionResult(serializedBytes: result.canonicalBytes)
  }

  @Test func `a record comes back as it was, but for its attempt and explanation`() throws {
    #expect(ActionRecord(try through(record.actionResult), for: request) == record)
  }

  @Test func `its encoding is one and the same`() throws {
    #expect(record.actionResult.canonicalBytes == record.actionResult.canonicalBytes)
    #expect(try through(record.actionResult).canonicalBytes == record.actionResult.canonicalBytes)
  }

  static let damages: [(String, @Sendable (inout REAPIActionResult) -> Void)] = [
    ("a failure", { $0.exitCode = 1 }),
    ("no details", { $0.executionMetadata.auxiliaryMetadata = [] }),
    ("a digest that is none", { $0.outputFiles[0].digest.hash = "../../etc/passwd" }),
    ("a negative size", { $0.outputFiles[0].digest.sizeBytes = -1 }),
    ("a huge size", { $0.stdoutDigest.sizeBytes = .max }),
    ("an output that is not there", { $0.outputFiles = [] }),
    ("one path twice", { $0.outputFiles.append($0.outputFiles[0]) }),
    ("a folder without a root", { $0.outputDirectories[0].clearRootDirectoryDigest() }),
    ("a time before 1970", { $0.executionMetadata.executionStartTimestamp.seconds = -1 }),
    ("a time after the year 9999", { $0.executionMetadata.executionCompletedTimestamp.seconds = .max }),
    ("another output", { Self.change(&$0) { $0.outputs[0].name = "other" } }),
    ("one output less", { Self.change(&$0) { $0.outputs.removeLast() } }),
    ("another rule", { Self.change(&$0) { $0.rule = "test" } }),
    ("a negative duration", { Self.change(&$0) { $0.durationMs = -5 } }),
    ("a layer that has no digest", { Self.change(&$0) { $0.outputs[2].image.layers[0].hash = "" } }),
    ("a JUnit file that has none", { Self.change(&$0) { $0.junit.hash = "x" } }),
  ]

  private static func change(_ result: inout REAPIActionResult, _ body: (inout SlipwayActionDetails) -> Void) {
    guard var details = result.details else { return }
    body(&details)
    result.executionMetadata.auxiliaryMetadata = (try? [.init(message: details)]) ?? []
  }

  @Test(arguments: damages.indices)
  func `a result that the action cannot have given is none`(index: Int) throws {
    var result = record.actionResult
    Self.damages[index].1(&result)
    #expect(ActionRecord(try through(result), for: request) == nil, "\(Self.damages[index].0)")
  }

  @Test func `a path that leads elsewhere is none, where no declaration says better`() throws {
    var request = request
    request.outputs = nil
    for path in ["../x", "a/../../x", "/etc", "a//b/..", "a\0b"] {
      var result = record.actionResult
      Self.change(&result) { $0.outputs[0].path = path }
      result.outputFiles[0].path = path
      #expect(ActionRecord(try through(result), for: request) == nil, "\(path)")
    }
  }

  // MARK: Signatures

  private let key = SigningKey()

  @Test func `a signed result counts for whoever trusts its key, and for nobody else`() throws {
    let signed = try through(record.actionResult.signed(request.action.digest, by: key))
    #expect(signed.trust(request.action.digest, among: [key.trusted]) == .signed(by: key.trusted))
    #expect(signed.trust(request.action.digest, among: [SigningKey().trusted]) == .stranger(key.trusted))
    #expect(record.actionResult.trust(request.action.digest, among: [key.trusted]) == .unsigned)
    #expect(ActionRecord(signed, for: request) == record)
  }

  @Test func `a signature is for one action and one result`() throws {
    let signed = record.actionResult.signed(request.action.digest, by: key)
    #expect(signed.trust(Digest(of: "another"), among: [key.trusted]) == .forged)
    for (name, damage) in Self.damages.prefix(10) where name != "no details" {
      var other = signed
      damage(&other)
      #expect(other.trust(request.action.digest, among: [key.trusted]) == .forged, "\(name)")
    }
    var twice = signed
    twice.executionMetadata.auxiliaryMetadata.append(contentsOf: signed.executionMetadata.auxiliaryMetadata.suffix(1))
    #expect(twice.trust(request.action.digest, among: [key.trusted]) == .forged)
    let again = signed.signed(request.action.digest, by: SigningKey())
    #expect(again.executionMetadata.auxiliaryMetadata.count == 2)
  }

  @Test func `keys have a text, and a secret none but where it is asked for`() throws {
    #expect(TrustedKey("\(key.trusted)") == key.trusted)
    #expect(SigningKey(key.secret + "\n")?.trusted == key.trusted)
    #expect(!"\(key)".contains(key.secret) && !"\([key])".contains(key.secret))
    for text in ["", "ed25519:", "ed25519:AAAA", "rsa:" + "\(key.trusted)".dropFirst(8), "\(key.trusted)x"] {
      #expect(TrustedKey(text) == nil, "\(text)")
    }
    #expect(SigningKey("\(key.trusted)") == nil && SigningKey("") == nil)
  }
}
