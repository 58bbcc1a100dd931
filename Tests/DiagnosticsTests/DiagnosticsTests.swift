import Testing

@testable import Diagnostics

@Suite struct DiagnosticsTests {
  @Test func `a diagnostic shows place, excerpt, caret and hint`() {
    let span = SourceSpan(
      file: "connectors/source-faker/targets.yaml", line: 3, column: 12, length: 24,
      excerpt: #"    deps: ["//libs/protocol:libb"]"#)
    let diagnostic = Diagnostic.error(
      "unknown target `//libs/protocol:libb`", at: span, hints: ["did you mean `//libs/protocol:lib`?"])
    #expect(
      diagnostic.rendered == """
        connectors/source-faker/targets.yaml:3:12: error: unknown target `//libs/protocol:libb`
        3 |     deps: ["//libs/protocol:libb"]
          |            ^^^^^^^^^^^^^^^^^^^^^^^
        hint: did you mean `//libs/protocol:lib`?

        """)
  }

  @Test func `control characters of a stranger are escaped`() {
    #expect(Diagnostic.error("bad \u{1b}[2J name").rendered == "error: bad \\u{1b}[2J name\n")
  }

  @Test func `diagnostics are sorted by place and each shown once`() {
    let a = Diagnostic.error("a", at: SourceSpan(file: "x", line: 2, column: 1))
    let b = Diagnostic.error("b", at: SourceSpan(file: "x", line: 1, column: 9))
    let c = Diagnostic.error("c")
    #expect(DiagnosticList([c, a, b, a]).sorted == [b, a, c])
  }

  @Test func `the nearest name is suggested, and none when all are far`() {
    #expect(didYouMean("libb", among: ["lib", "image", "spec"]) == "lib")
    #expect(didYouMean("enrtypoint", among: ["entrypoint", "env"]) == "entrypoint")
    #expect(didYouMean("zzz", among: ["image", "spec"]) == nil)
  }
}
