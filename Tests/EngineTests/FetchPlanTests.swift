import Diagnostics
import Digests
import Testing

@testable import Engine

@Suite struct FetchPlanTests {
  private let a = Digest(of: "a")
  private let b = Digest(of: "b")

  private func plan(_ lines: String...) throws -> FetchPlan {
    try FetchPlan(parsing: Array(lines.joined(separator: "\n").utf8), name: "the plan")
  }

  @Test func `what the plan names, with its digest, is right`() throws {
    let plan = try plan(#"{"path":"x.whl","sha256":"\#(a)"}"#, #"{"path":"y/","sha256":["\#(a)","\#(b)"]}"#)
    #expect(plan.problems(of: [("x.whl", a), ("y/any-name", b)]) == [])
  }

  @Test func `an empty plan admits nothing`() throws {
    #expect(try plan("").problems(of: []) == [])
    #expect(try plan("").problems(of: [("x", a)]) == ["`x` is not in the plan"])
  }

  @Test func `another byte is refused`() throws {
    let problems = try plan(#"{"path":"x","sha256":"\#(a)"}"#).problems(of: [("x", b)])
    #expect(problems == ["`x` has the digest \(b), which the plan does not hold"])
  }

  @Test func `what was planned must be there, once`() throws {
    let plan = try plan(#"{"path":"y/","sha256":["\#(a)"]}"#)
    #expect(plan.problems(of: []) == ["`y/` was not fetched"])
    #expect(plan.problems(of: [("y/1", a), ("y/2", a)]) == ["`y/` was fetched 2 times"])
    #expect(plan.problems(of: [("y/deep/1", a)]) == ["`y/deep/1` is not in the plan", "`y/` was not fetched"])
  }

  @Test(arguments: [
    "{}", "[1]", #"{"path":"x","sha256":"12"}"#, #"{"path":"../x","sha256":"\#(Digest.empty)"}"#,
    #"{"path":"/x","sha256":"\#(Digest.empty)"}"#, #"{"path":"","sha256":"\#(Digest.empty)"}"#,
    #"{"path":"a//b","sha256":"\#(Digest.empty)"}"#, #"{"path":"x","sha256":[]}"#,
  ])
  func `a malformed line is refused with its number`(line: String) {
    #expect(throws: Diagnostic.self) { try plan("", line) }
  }
}
