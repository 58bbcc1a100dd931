import Diagnostics
import Files
import SeededRandom
import Testing

@testable import Graph

@Suite struct LabelTests {
  static let folder = WorkspacePath(unchecked: "x/y")

  @Test(arguments: [
    ("//a/b:c", "//a/b:c"), ("//a/b", "//a/b"), ("//:c", "//:c"), (":c", "//x/y:c"), ("c:d", "//x/y/c:d"),
    ("c", "//x/y/c"), ("c/d", "//x/y/c/d"), ("//a:b#out", "//a:b#out"), (":b#out", "//x/y:b#out"),
    ("//a#out", "//a#out"), ("c#out", "//x/y/c#out"), ("//source-faker:dev-site", "//source-faker:dev-site"),
    ("//a:b.c_d+e=f,g~h%i^j", "//a:b.c_d+e=f,g~h%i^j"), ("//a:.hidden", "//a:.hidden"), ("//a:1", "//a:1"),
    ("//a:all", "//a:all"), ("//ä/日本:c", "//ä/日本:c"), ("//a b:c", "//a b:c"), ("//.github:c", "//.github:c"),
    ("//....:c", "//....:c"), ("//a@1:c", "//a@1:c"),
  ])
  func `a label is read relative to its package`(text: String, full: String) throws {
    #expect(try LabelReference.parse(text, relativeTo: Self.folder).description == full)
  }

  @Test func `printing a label and reading it are inverse`() throws {
    let seed = UInt64.random(in: .min ... .max)
    var random = SeededGenerator(seed: seed)
    let letters = Array("abcXYZ019_.-+=,~%^")
    func word(_ alphabet: [Character]) -> String {
      var text = ""
      for _ in 0..<Int.random(in: 1...6, using: &random) { text.append(alphabet.randomElement(using: &random) ?? "a") }
      return text
    }
    var seen = 0
    for _ in 0..<5_000 {
      let depth = Int.random(in: 0...3, using: &random)
      let path = (0..<depth).map { _ in word(letters + Array("é日@")) }.joined(separator: "/")
      let name = word(letters)
      guard let package = depth == 0 ? .root : WorkspacePath(path), Label.isName(name) else { continue }
      if path.split(separator: "/").contains("...") { continue }
      let label = Label(package: package, name: name)
      #expect(try Label.parse(label.description) == label, "seed \(seed)")
      #expect(try Label.parse(label.description, relativeTo: Self.folder) == label, "seed \(seed)")
      let reference = LabelReference(
        package: package, name: name, output: Bool.random(using: &random) ? "out" : nil)
      #expect(try LabelReference.parse(reference.description, relativeTo: Self.folder) == reference, "seed \(seed)")
      seen += 1
    }
    #expect(seen > 1_000)
  }

  @Test func `labels order by package and then by name, bytewise`() throws {
    let texts = ["//:z", "//B:a", "//a:B", "//a:a", "//a:a-b", "//a:aa", "//a-b:a", "//a/b:a", "//b:a", "//é:a"]
    var labels: [Label] = []
    for text in texts { labels.append(try Label.parse(text)) }
    #expect(labels.reversed().sorted() == labels)
    #expect(labels.map(\.description) == texts)
  }
}
