import Diagnostics
import Digests
import Testing

@testable import Distribution

@Suite struct ReferenceTests {
  private static let digest = "sha256:" + String(repeating: "0f", count: 32)

  @Test(arguments: [
    ("debian", "docker.io/library/debian"),
    ("debian:bookworm", "docker.io/library/debian:bookworm"),
    ("airbyte/source-faker:6.2.21", "docker.io/airbyte/source-faker:6.2.21"),
    ("docker.io/debian", "docker.io/library/debian"),
    ("index.docker.io/library/debian:12", "docker.io/library/debian:12"),
    ("registry-1.docker.io/a/b", "docker.io/a/b"),
    ("localhost/a", "localhost/a"),
    ("localhost:5000/a/b/c:x", "localhost:5000/a/b/c:x"),
    ("127.0.0.1:5000/a", "127.0.0.1:5000/a"),
    ("[::1]:5000/a:t", "[::1]:5000/a:t"),
    ("GHCR.io/a/b", "ghcr.io/a/b"),
    ("quay.io/a/b@\(digest)", "quay.io/a/b@\(digest)"),
    ("quay.io/a/b:1.0@\(digest)", "quay.io/a/b:1.0@\(digest)"),
    ("a/b--c__d.e_f:_T.-x", "docker.io/a/b--c__d.e_f:_T.-x"),
    ("host:80/a", "host:80/a"),
  ])
  func `a reference is completed as Docker does, and printed in full`(text: String, full: String) throws {
    let reference = try Reference(text)
    #expect(reference.description == full)
    #expect(try Reference(full) == reference, "what is printed is read as the same")
  }

  @Test(arguments: [
    "", " ", "a b", "é", ":tag", "/a", "a/", "a//b", "a:", "a:b:c", "a@", "a@sha256:12", "a@md5:00", "A", "a/B",
    "a/-b", "a/b-", "a/b___c", "a/b..c", "a:.t", "a:-t", "a@\(digest)@\(digest)", "host:0/a", "host:99999/a",
    "host:x/a", "-host.io/a", "ho_st.io/a", "[::1/a", "[zz]:1/a", "host.io/", "a:" + String(repeating: "t", count: 129),
    "h.io/" + String(repeating: "r", count: 256), "https://ghcr.io/a", "@\(digest)", "a/../b", "a\n",
  ])
  func `a text that is no reference is refused`(text: String) {
    let error = #expect(throws: Diagnostic.self) { try Reference(text) }
    #expect(error?.message.contains("is not an image reference") == true)
  }

  @Test func `a refusal says which part is wrong`() {
    let capital = #expect(throws: Diagnostic.self) { try Reference("a/Source-Faker") }
    #expect(
      capital?.rendered == """
        error: `a/Source-Faker` is not an image reference: `a/Source-Faker` is not a repository name
        hint: write it in lower case

        """)
    let digest = #expect(throws: Diagnostic.self) { try Reference("a@sha256:12") }
    #expect(digest?.message.hasSuffix("its digest is not `sha256:` and 64 lower-case hexadecimal digits") == true)
  }

  @Test func `tagging drops the digest, pinning keeps the tag`() throws {
    let reference = try Reference("a/b:1@\(Self.digest)")
    #expect(try reference.tagged("2").description == "docker.io/a/b:2")
    #expect(reference.pinned(to: Digest(of: "x")).tag == "1")
    #expect(throws: Diagnostic.self) { try reference.tagged("a/b") }
  }

  @Test func `any bytes give a reference or a refusal`() {
    var seed: UInt64 = 7
    let alphabet = Array("aA0:/@.-_[]x sha256%\u{e9}")
    for _ in 0..<20_000 {
      var text = ""
      seed = seed &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      for _ in 0..<(seed >> 33) % 12 {
        seed = seed &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        text.append(alphabet[Int(seed >> 33) % alphabet.count])
      }
      guard let reference = try? Reference(text) else { continue }
      #expect((try? Reference(reference.description)) == reference, "seed text \(text)")
    }
  }
}
