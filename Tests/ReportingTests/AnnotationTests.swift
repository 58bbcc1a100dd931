import Testing

@testable import Reporting

@Suite struct AnnotationTests {
  @Test func `a workflow command escapes what would end it`() {
    #expect(Annotation(.error, message: "a\nb %\r: c").command == "::error::a%0Ab %25%0D: c\n")
    let whole = Annotation(.warning, title: "//a:b, c", file: "a,b:c.py", line: 3, column: 7, message: "m").command
    #expect(whole == "::warning file=a%2Cb%3Ac.py,line=3,col=7,title=//a%3Ab%2C c::m\n")
  }

  @Test(arguments: [
    ("unit_tests/test_a.py:12: AssertionError: 1 != 2\n", "unit_tests/test_a.py", 12, "AssertionError: 1 != 2"),
    ("E   assert\n\n/app/x/y.py:7: ValueError: no\n=== 1 failed ===\n", "/app/x/y.py", 7, "ValueError: no"),
    ("a.py:1: first\nb.py:2: last\nrest", "b.py", 2, "last"),
    ("src/main.c:3: error: x: y\r\n", "src/main.c", 3, "error: x: y"),
  ])
  func `a log names the place of a failure`(log: String, path: String, line: Int, message: String) {
    let place = FailurePlace(log: log)
    #expect(place?.path == path && place?.line == line && place?.message == message)
  }

  @Test(arguments: ["", "12:30: at noon", "http://a.b:80: c", "a.py: 12", "  a.py:1: indented", "a.py:99999999: long"])
  func `other lines name none`(log: String) {
    #expect(FailurePlace(log: log) == nil)
  }
}
