import Testing

@testable import OCI

@Suite struct JSONTests {
  @Test func `keys are sorted by bytes and slashes are left alone`() {
    let json = JSON.object(["b": .number(1), "a/b": .strings(["x\n\"\u{1}é"]), "B": .null])
    #expect(String(decoding: json.encoded, as: UTF8.self) == #"{"B":null,"a/b":["x\n\"\u0001é"],"b":1}"#)
    #expect(JSON(decoding: json.encoded) == json)
  }

  @Test(arguments: [
    "", "{", "[1,]", "{\"a\":1,\"a\":2}", "01", "1.", "nul", "\"\\ud800\"", "\"\u{1}\"", "[1] 2", "+1", "{\"a\" 1}",
    String(repeating: "[", count: 100_000),
  ])
  func `what is not one JSON value is refused`(text: String) {
    #expect(JSON(decoding: Array(text.utf8)) == nil)
  }

  @Test func `escapes and surrogate pairs are read`() {
    #expect(JSON(decoding: Array(#""\u00e9\ud83d\ude00\/""#.utf8)) == .string("é😀/"))
  }
}
