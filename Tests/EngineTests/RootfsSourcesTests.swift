import Testing

@testable import Engine

@Suite struct RootfsSourcesTests {
  private func sources(
    _ suite: String, mirror: String? = nil, snapshot: String? = nil, components: [String] = [], keys: Bool = true
  ) -> RootfsSources {
    RootfsSources(suite: suite, mirror: mirror, snapshot: snapshot, components: components) { _ in keys }
  }

  @Test func `without a snapshot the mirror is taken as it is`() {
    #expect(sources("bookworm").arguments == [])
    #expect(sources("bookworm", mirror: "http://m/debian").arguments == ["http://m/debian"])
  }

  @Test func `a snapshot is the mirror's folder of that date`() {
    #expect(
      sources("sid", mirror: "http://m/debian", snapshot: "20260101T000000Z").arguments
        == ["http://m/debian/20260101T000000Z"])
    #expect(sources("sid", mirror: "http://m/", snapshot: "20260101T000000Z").name == "http://m/20260101T000000Z")
  }

  @Test func `a snapshot without a mirror is Debian's, with the security fixes of that date`() {
    let base = "http://snapshot.debian.org/archive"
    #expect(
      sources("bookworm", snapshot: "20260101T000000Z", components: ["main", "contrib"], keys: false).arguments == [
        "deb \(base)/debian/20260101T000000Z bookworm main contrib",
        "deb \(base)/debian-security/20260101T000000Z bookworm-security main contrib",
      ])
    #expect(
      sources("sid", snapshot: "20260101T000000Z").arguments == [
        "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] \(base)/debian/20260101T000000Z sid main"
      ])
  }
}
