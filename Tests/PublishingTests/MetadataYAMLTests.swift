import Diagnostics
import Manifests
import SystemPackage
import Testing

@testable import Publishing

/// The rendering of metadata: one text for one value.
@Suite struct MetadataYAMLTests {
  private func node(_ text: String) throws -> Node {
    try YAMLParser.parse(SourceText(file: "metadata.yaml", text: text, role: .data))
  }

  private func rendered(_ text: String) throws -> String {
    String(decoding: try node(text).canonicalYAML, as: UTF8.self)
  }

  @Test func `comments, quotes, styles and the order of keys are not part of it`() throws {
    let written = """
      # a comment
      b: 'two'   # another
      a:
        - {y: [], x: {}}
        - >-
          folded
          text
      """
    let same = "{\"a\": [{x: {}, y: []}, \"folded text\"], b: two}"
    let expected = "a:\n  - x: {}\n    \"y\": []\n  - folded text\nb: two\n"
    #expect(try rendered(written) == expected)
    #expect(try rendered(same) == expected)
    #expect(try rendered(expected) == expected)
  }

  @Test(arguments: [
    ("0.6.14", "\"0.6.14\""), ("2024-01-31", "\"2024-01-31\""), ("'true'", "\"true\""), ("yes", "\"yes\""),
    ("'null'", "\"null\""), ("''", "\"\""), ("'1'", "\"1\""), ("1", "1"), ("0x1F", "31"), ("010", "10"), ("+7", "7"),
    ("true", "true"), ("FALSE", "false"), ("~", "null"), ("1.50", "1.5"), ("1e30", "1.0e+30"), ("1e-7", "1.0e-07"),
    (".inf", ".inf"), ("-.INF", "-.inf"), (".nan", ".nan"), ("1e999", ".inf"), ("12:30:45", "\"12:30:45\""),
    ("on", "\"on\""), ("'a: b'", "\"a: b\""), ("https://a.b/c", "https://a.b/c"), ("'a #b'", "\"a #b\""),
    ("'a:'", "\"a:\""), ("'- a'", "\"- a\""), ("\"a\\nb\"", "\"a\\nb\""), ("\"\\u2028\\x7f\"", "\"\\u2028\\u007f\""),
    ("Grüße 🚀", "\"Grüße 🚀\""), ("'@a'", "\"@a\""), ("'a '", "\"a \""), ("\"\\\"\\\\\"", "\"\\\"\\\\\""),
    ("language:python", "language:python"), ("'${api_url}'", "\"${api_url}\""), ("N", "\"N\""),
  ])
  func `a value is written so that it stays what it is`(written: String, expected: String) throws {
    #expect(try rendered("a: \(written)") == "a: \(expected)\n")
  }

  @Test func `a text of a thousand characters is a key that is still read as one`() throws {
    let key = String(repeating: "k", count: 1500)
    let document = try node("{? \"\(key)\" : [1], a: {? \"\(key)\" : b}}")
    let again = try node(String(decoding: document.canonicalYAML, as: UTF8.self))
    #expect(again.jsonText() == document.jsonText(sortedKeys: true))
  }

  @Test func `every text of two awkward characters comes back as it was`() throws {
    let characters: [Unicode.Scalar] = [
      "a", "1", " ", "-", ":", "#", "'", "\"", "\\", "\n", "\t", "\r", "\u{0}", "\u{7f}", "\u{85}", "\u{2028}",
      "\u{feff}",
      "{", "]", ",", "&", "*", "!", "|", ">", "%", "@", "`", "?", "~", "=", "<", ".", "é", "\u{1f680}", "y", "\u{fffe}",
    ]
    for first in characters {
      for second in characters {
        let text = String(String.UnicodeScalarView([first, second]))
        let source = SourceText(file: "x", text: "a: b", role: .data)
        let place = try YAMLParser.parse(source).place
        let document = Node(
          .mapping([.init(name: text, keyPlace: place, value: Node(string: text, at: place))]), at: place)
        let again = try YAMLParser.parse(SourceText(file: "x", bytes: document.canonicalYAML, role: .data))
        #expect(
          again.pairs?.first?.name == text && again.pairs?.first?.value.string == text, "\(text.debugDescription)")
      }
    }
  }
}
