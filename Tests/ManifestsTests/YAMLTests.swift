import Diagnostics
import Testing

@testable import Manifests

struct YAMLTests {
  private func json(_ text: String) throws -> String {
    try YAMLParser.parse(SourceText(file: "a.yaml", text: text)).jsonText()
  }

  private func failure(_ bytes: [UInt8]) -> String {
    do throws(Diagnostic) {
      return try YAMLParser.parse(SourceText(file: "a.yaml", bytes: bytes)).jsonText()
    } catch {
      return error.rendered
    }
  }

  private func failure(_ text: String) -> String { failure(Array(text.utf8)) }

  @Test(arguments: [
    ("1", "1"), ("-1", "-1"), ("+1", "1"), ("010", "10"), ("-0", "0"), ("0o17", "15"), ("0x1F", "31"),
    ("123456789012345678901234567890", "123456789012345678901234567890"),
    ("0xffffffffffffffffff", "\"0xffffffffffffffffff\""),
    ("1.5", "1.5"), (".5", "0.5"), ("1.", "1.0"), ("1e3", "1000.0"), ("1E-2", "0.01"), ("-.5e1", "-5.0"),
    (".inf", "\".inf\""), ("-.INF", "\"-.INF\""), (".nan", "\".nan\""), ("1e999", "\"1e999\""),
    ("true", "true"), ("True", "true"), ("FALSE", "false"), ("yes", "\"yes\""), ("No", "\"No\""), ("on", "\"on\""),
    ("null", "null"), ("~", "null"), ("NULL", "null"), ("nUll", "\"nUll\""),
    ("2024-01-02", "\"2024-01-02\""), ("1.2.3", "\"1.2.3\""), ("1_000", "\"1_000\""), ("12:30", "\"12:30\""),
    ("-", "[null]"), (".", "\".\""), ("+", "\"+\""), ("e3", "\"e3\""), ("1e", "\"1e\""), ("0x", "\"0x\""),
    ("0o8", "\"0o8\""),
    ("'1'", "\"1\""), ("\"true\"", "\"true\""), ("|\n  1\n", "\"1\\n\""), ("''", "\"\""),
    ("\"\\u0001\\t\"", "\"\\u0001\\t\""),
  ])
  func `plain scalars have the types of the YAML 1.2 core schema`(text: String, expected: String) throws {
    #expect(try json(text) == expected)
  }

  @Test func `collections and their order survive`() throws {
    #expect(try json("b: [1, {x: y}]\na:\n- c\n-\n1: \n") == #"{"b":[1,{"x":"y"}],"a":["c",null],"1":null}"#)
    #expect(
      try YAMLParser.parse(SourceText(file: "", text: "b: {z: 1, y: 2}\na: 3")).jsonText(sortedKeys: true)
        == #"{"a":3,"b":{"y":2,"z":1}}"#)
  }

  @Test func `every value knows its place in characters`() throws {
    let node = try YAMLParser.parse(SourceText(file: "a.yaml", text: "\u{feff}é: [ü, \"ö\"]\r\nb:\n  c: d # e\n"))
    let list = try #require(node["é"]?.elements)
    #expect([list[0], list[1]].map { [$0.span.line, $0.span.column, $0.span.length] } == [[1, 5, 1], [1, 8, 3]])
    #expect(list[1].span.excerpt == "é: [ü, \"ö\"]")
    let d = try #require(node["b"]?["c"])
    #expect([d.span.line, d.span.column, d.span.length] == [3, 6, 1])
    #expect(node["b"]?.span.length == 8)
  }

  @Test(arguments: [
    ("", "a.yaml:1:1: error: the file is empty\n"),
    ("# nothing\n", "a.yaml:1:1: error: the file is empty\n"),
    ("a: 1\n---\nb: 2\n", "a.yaml:2:1: error: a second document starts here"),
    ("a: &x 1\nb: *x\n", "a.yaml:1:4: error: YAML anchors are not supported"),
    ("b: *x\n", "a.yaml:1:4: error: YAML aliases are not supported"),
    ("a: {<<: {b: 1}}\n", "a.yaml:1:5: error: YAML merge keys are not supported"),
    ("a: !!str 1\n", "a.yaml:1:4: error: YAML tags are not supported"),
    ("a: !secret x\n", "a.yaml:1:4: error: YAML tags are not supported"),
    ("a: 1\nb: 2\n'a': 3\n", "a.yaml:3:1: error: the key `a` appears twice"),
    ("[a]: 1\n", "a.yaml:1:1: error: a key must be a plain text"),
    ("? \n: 1\n", "a.yaml:1:2: error: a key is missing before `:`"),
    ("a:\n\tb: 1\n", "a.yaml:2:1: error: a tab cannot indent YAML"),
    ("a: [1, 2\n", "a.yaml:2:1: error: YAML syntax: did not find expected ',' or ']'"),
    ("a: b: c\n", "a.yaml:1:5: error: YAML syntax: mapping values are not allowed in this context"),
    ("a: \"x\u{1}\"\n", "a.yaml:1:6: error: a control character is not allowed"),
  ])
  func `what is not accepted is refused where it stands`(text: String, expected: String) {
    #expect(failure(text).hasPrefix(expected), "\(failure(text))")
  }

  @Test func `a byte that is not UTF-8 is named with its place`() {
    #expect(
      failure(Array("a: ü\nb: ".utf8) + [0xff, 0x0a]).hasPrefix(
        "a.yaml:2:4: error: the file is not UTF-8: unexpected byte 0xff"))
    #expect(failure([0xff, 0xfe, 0x61, 0x00]).hasPrefix("a.yaml:1:1: error: the file is not UTF-8"))
    #expect(failure([0x61, 0x00]).hasPrefix("a.yaml:1:2: error: a control character is not allowed"))
    #expect(failure(Array("a: ".utf8) + [0xc3]).contains("error: the file is not UTF-8"))
  }

  @Test func `64 levels are enough and 65 are refused`() throws {
    func nested(_ depth: Int) -> String {
      String(repeating: "[", count: depth) + String(repeating: "]", count: depth)
    }
    #expect(try json(nested(64)) == nested(64))
    #expect(failure(nested(65)).hasPrefix("a.yaml:1:65: error: nested deeper than 64 levels"))
    #expect(failure(String(repeating: "[", count: 1 << 20)).contains("error:"))
    #expect(failure(String(repeating: "{a: ", count: 1 << 18)).contains("error:"))
    #expect(failure(String(repeating: "- ", count: 1 << 20)).contains("nested deeper"))
    #expect(failure(String(repeating: "? ", count: 1 << 20)).contains("error:"))
  }

  @Test func `sizes have limits`() {
    #expect(failure([UInt8](repeating: 97, count: (1 << 20) + 1)).contains("a value is longer than 1 MiB"))
    #expect(failure([UInt8](repeating: 35, count: (4 << 20) + 1)).contains("the file is larger than 4 MiB"))
  }

  @Test func `a mapping of many keys is read in linear time`() throws {
    let text = (0..<100_000).map { "k\($0): \($0)\n" }.joined()
    let start = ContinuousClock.now
    let node = try YAMLParser.parse(SourceText(file: "a", text: text))
    let time = ContinuousClock.now - start
    #expect(node.pairs?.count == 100_000)
    #expect(time < .seconds(20))
    #expect(failure(text + "k99: 1").contains("a.yaml:100001:1: error: the key `k99` appears twice"))
  }
}
