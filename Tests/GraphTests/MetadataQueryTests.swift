import Diagnostics
import Files
import SeededRandom
import Testing

@testable import Graph

@Suite struct MetadataQueryTests {
  private static let document: MetadataExpression.Value = .map([
    "data": .map([
      "supportLevel": .string("certified"), "ab_internal": .map(["ql": .number(400), "sl": .number(0)]),
      "tags": .list([.string("language:python"), .string("cdk:low-code")]), "remote-registries": .null,
      "enabled": .bool(false), "dockerImageTag": .string("1.10.0"),
    ])
  ])

  private func matches(_ text: String) throws -> Bool {
    let source = QuerySource(text)
    return try MetadataParser.parse(source, 0..<source.scalars.count).matches(Self.document)
  }

  @Test(arguments: [
    ("data.supportLevel == 'certified' and data.ab_internal.ql > 100", true),
    ("data.supportLevel == \"community\"", false), ("data.ab_internal.ql >= 400", true),
    ("data.ab_internal.ql<400", false), ("data.ab_internal.sl", false), ("not data.ab_internal.sl", true),
    ("data.enabled == false", true), ("data.enabled == False", true), ("not not data.enabled", false),
    ("'language:python' in data.tags", true), ("'cdk:python' not in data.tags", true), ("'py' in data.tags.0", true),
    ("data.tags.1 == 'cdk:low-code'", true), ("data.tags.2 == null", true), ("data.nowhere.at.all == None", true),
    ("data.nowhere > 1", false), ("data.nowhere <= 1", false), ("not data.nowhere > 1", true),
    ("data.supportLevel > 1", false), ("data.supportLevel in ['certified', 'community']", true),
    ("data.ab_internal.ql in [100, 400.0]", true), ("'ql' in data.ab_internal", true),
    ("data.remote-registries == null", true), ("data", true), ("[]", false), ("-1 < 0", true),
    ("false or false and true or true", true), ("(false or true) and not (true and false)", true),
    ("data.dockerImageTag < '2'", true), ("data.tags == ['language:python', 'cdk:low-code']", true),
  ])
  func `a condition holds or does not`(text: String, expected: Bool) throws { #expect(try matches(text) == expected) }

  @Test(arguments: [
    ("", "the metadata expression is empty", 1), ("data.a = 1", "`=` compares nothing", 8),
    ("data.a ==", "the expression ends where a value is expected", 9), ("data..a", "`data..a` is no path", 1),
    ("(data.a", "this parenthesis is never closed", 1), ("data.a 'x'", "`'` cannot follow a whole expression", 8),
    ("data.a and and b", "expected a path or a value, found `and`", 12),
    ("'x' in ['a', data.b]", "a list holds values, not paths", 14), ("['a'", "this bracket is never closed", 1),
    ("data.a == 'x", "this quote is never closed", 11), ("data.a not 1", "expected an operator, found `not`", 8),
    ("&", "expected a path or a value, found `&`", 1),
  ])
  func `a mistake is told at its place`(text: String, message: String, column: Int) {
    do {
      _ = try matches(text)
      Issue.record("\(text) was read")
    } catch {
      #expect((error as? Diagnostic)?.message == message, "\(error)")
      #expect((error as? Diagnostic)?.span?.column == column, "\(error)")
    }
  }

  @Test func `in a query it selects targets of packages, all or some`() throws {
    func names(_ text: String) throws -> [String] {
      let graph = QueryWorkspace.graph
      let result = try Query.parse(text, relativeTo: .root).evaluate(
        in: graph, metadata: { $0.string == "src/a" ? Self.document : nil }, defaultTarget: { _ in nil })
      return QueryWorkspace.names(result)
    }
    let all = try names("metadata(\"data.supportLevel == 'certified'\")")
    #expect(!all.isEmpty && all.allSatisfy { $0.contains("src/a") })
    #expect(try names("kind(test, metadata('data.ab_internal.ql > 100', //...))").allSatisfy { all.contains($0) })
    #expect(try names("metadata('not data')") == [])
    #expect(try names("//... ^ metadata(data)") == all)
    do {
      _ = try names("metadata(\"data.a = 1\")")
      Issue.record("it was read")
    } catch {
      // Within the whole query's text.
      #expect((error as? Diagnostic)?.span?.column == 18, "\(error)")
    }
  }

  @Test(arguments: 0..<20)
  func `random tokens never trap`(seed: UInt64) {
    var random = SeededGenerator(seed: seed)
    let words = [
      "data", ".", "a", "(", ")", "[", "]", ",", "'", "\"", "==", "!=", "<", ">", "=", "in", "not", "and", "or", "1",
      "-", " ",
      "true", "é", "\n", "..", "e9",
    ]
    for _ in 0..<2000 {
      let text = (0..<Int.random(in: 0...14, using: &random)).map { _ in words.randomElement(using: &random) ?? "" }
      let source = QuerySource(text.joined())
      if let found = try? MetadataParser.parse(source, 0..<source.scalars.count) { _ = found.matches(Self.document) }
    }
    let deep = String(repeating: "(", count: 5000) + "1"
    #expect(throws: Diagnostic.self) { try MetadataParser.parse(QuerySource(deep), 0..<5001) }
  }
}
