import Testing

@testable import Engine

@Suite struct JUnitReportTests {
  @Test func `a passed test has no failure`() {
    let report = JUnitReport(label: "//a/b:unit", verdict: .passed, milliseconds: 1234, log: "fine")
    #expect(
      report.xml == """
        <?xml version="1.0" encoding="utf-8"?>
        <testsuites><testsuite name="//a/b" tests="1" failures="0" errors="0" skipped="0" time="1.234">\
        <testcase classname="//a/b" name="unit" time="1.234"></testcase></testsuite></testsuites>

        """)
  }

  @Test func `a log cannot break out of its element`() {
    let report = JUnitReport(label: "//a:t", verdict: .failed, milliseconds: 5, log: "</failure>\u{1b}[31m & \"x\"")
    #expect(report.xml.contains("&lt;/failure&gt;\u{fffd}[31m &amp; &quot;x&quot;</failure>"))
    #expect(report.xml.contains(#"time="0.005""#))
  }

  @Test func `no tests is a skip, not a pass`() {
    #expect(JUnitReport(label: "//a:t", verdict: .noTests, milliseconds: 0, log: "").xml.contains(#"skipped="1""#))
  }
}
