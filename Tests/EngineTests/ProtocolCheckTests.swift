import Testing

@testable import Engine

@Suite struct ProtocolCheckTests {
  private func check(_ command: ProtocolCheck.Command, _ lines: String...) -> ProtocolCheck {
    ProtocolCheck(command, output: Array(lines.joined(separator: "\n").utf8))
  }

  @Test func `one specification is a spec`() {
    let result = check(
      .spec, #"{"type":"LOG","log":{"level":"INFO","message":"hello"}}"#,
      #"{"type":"SPEC","spec":{"connectionSpecification":{"type":"object"}}}"#)
    #expect(result.passed)
    #expect(result.summary == "slipway-protocol: spec gave 1 LOG, 1 SPEC\n")
  }

  @Test func `no message at all is no spec`() {
    #expect(check(.spec).problems == ["`spec` must give one SPEC message, and gave 0"])
  }

  @Test func `text beside the messages is a problem with its line`() {
    let result = check(
      .spec, #"{"type":"SPEC","spec":{"connectionSpecification":{}}}"#, "Traceback (most recent call last):")
    #expect(result.problems == ["line 2 is no protocol message: Traceback (most recent call last):"])
  }

  @Test func `a failed connection fails the check with its reason`() {
    let result = check(
      .check, #"{"type":"CONNECTION_STATUS","connectionStatus":{"status":"FAILED","message":"no key"}}"#)
    #expect(result.problems == ["check failed: no key"])
  }

  @Test(arguments: [
    (#"{"type":"RECORD"}"#, "line 1: a RECORD message has no `record`"),
    (#"{"type":"CATALOG","catalog":{"streams":[]}}"#, "line 1: the catalog has no stream"),
    (#"{"type":"NOTE"}"#, "line 1 has the unknown message type `NOTE`"),
    (#"{"type":"LOG","log":{"level":"LOUD","message":"x"}}"#, "line 1: the log level is `LOUD`"),
  ])
  func `a message that lacks what its type demands is a problem`(line: String, problem: String) {
    #expect(check(.read, line).problems.first == problem)
  }

  @Test func `a read without records is a problem`() {
    #expect(check(.read).problems == ["`read` gave no RECORD message"])
  }

  @Test func `endless garbage is reported only so often`() {
    let garbage = [UInt8](repeating: 10, count: 10) + Array(String(repeating: "x\n", count: 10_000).utf8)
    #expect(ProtocolCheck(.read, output: garbage).problems.count <= 21)
  }
}
