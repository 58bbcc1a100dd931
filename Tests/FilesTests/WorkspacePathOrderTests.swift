import Testing

@testable import Files

@Suite struct WorkspacePathOrderTests {
  @Test func `two spellings of one letter are two paths`() {
    let composed = WorkspacePath(unchecked: "caf\u{e9}")
    let decomposed = WorkspacePath(unchecked: "cafe\u{301}")
    #expect(composed != decomposed)
    #expect(Set([composed, decomposed]).count == 2)
    #expect(decomposed < composed)
  }

  @Test(arguments: [("a", "b"), ("a", "aa"), ("", "a"), ("a-b", "a/b"), ("Z", "a"), ("a", "\u{e9}")])
  func `paths are ordered by bytes`(first: String, second: String) {
    #expect(WorkspacePath(unchecked: first) < WorkspacePath(unchecked: second))
    #expect(!(WorkspacePath(unchecked: second) < WorkspacePath(unchecked: first)))
  }
}
