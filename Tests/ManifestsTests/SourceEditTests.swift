import Diagnostics
import Testing

@testable import Manifests

@Suite struct SourceEditTests {
  private func edited(_ text: String, _ path: [String], _ new: String) throws -> String? {
    let source = SourceText(file: "a.yaml", text: text)
    var node = try YAMLParser.parse(source)
    for name in path { node = try #require(node[name]) }
    return source.edit(of: node, to: new).map { String(decoding: source.applying([$0]), as: UTF8.self) }
  }

  @Test(arguments: [
    ("a: old # why\n", "a: new # why\n"), ("a: \"old\"\n", "a: \"new\"\n"),
    ("{b: 1, a: 'old', c: 2}", "{b: 1, a: 'new', c: 2}"),
    ("# é\nb: 'ü'\na:   old\n", "# é\nb: 'ü'\na:   new\n"), ("{'ü': 1, a: old}", "{'ü': 1, a: new}"),
    ("a: old\r\nb: 1\r\n", "a: new\r\nb: 1\r\n"),
  ])
  func `a scalar is replaced where it stands, and nothing else`(text: String, expected: String) throws {
    #expect(try edited(text, ["a"], "new") == expected)
  }

  @Test(arguments: ["a: \"o\\u006cd\"\n", "a: |\n  old\n", "a: >-\n  old\n  er\n", "a: [old]\n"])
  func `what is not written as it is read is not edited`(text: String) throws {
    #expect(try edited(text, ["a"], "new") == nil)
  }

  @Test func `edits do not disturb each other`() throws {
    let source = SourceText(file: "a.yaml", text: "a: one\nb: two # 2\nc: three\n")
    let node = try YAMLParser.parse(source)
    let edits = try ["a", "b", "c"].map { name in
      let scalar = try #require(node[name])
      return try #require(source.edit(of: scalar, to: name + "-much-longer"))
    }
    let text = String(decoding: source.applying(edits), as: UTF8.self)
    #expect(text == "a: a-much-longer\nb: b-much-longer # 2\nc: c-much-longer\n")
  }
}
