import Testing

@testable import Distribution

@Suite struct HeaderTests {
  // MARK: WWW-Authenticate

  @Test func `a bearer challenge gives its parameters`() {
    let challenges = Challenge.parse(
      #"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#)
    #expect(
      challenges == [
        Challenge(
          scheme: "bearer",
          parameters: [
            "realm": "https://auth.docker.io/token", "service": "registry.docker.io",
            "scope": "repository:a/b:pull,push",
          ])
      ])
  }

  @Test func `several challenges in one header are told apart`() {
    let challenges = Challenge.parse(#"Negotiate, BASIC realm="a \"b\", c" , Bearer Realm=x,  error = "invalid_token""#)
    #expect(challenges.map(\.scheme) == ["negotiate", "basic", "bearer"])
    #expect(challenges[1].parameters == ["realm": #"a "b", c"#])
    #expect(challenges[2].parameters == ["realm": "x", "error": "invalid_token"])
  }

  @Test(arguments: ["", ",", "=", "\"", "Bearer realm=\"open", "Bearer realm=", "Negotiate abc==", "Basic \u{0}"])
  func `a malformed challenge gives no parameter and no crash`(text: String) {
    #expect(Challenge.parse(text).allSatisfy { $0.parameters["realm"] == nil })
  }

  @Test func `any bytes in any header give a value or none`() {
    var seed: UInt64 = 11
    let alphabet = Array("Bearer realm=\"\\,;<>/:?&-0123456789 bytes=*GMTJan\t\u{e9}".unicodeScalars)
    for _ in 0..<20_000 {
      var text = ""
      seed = seed &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      for _ in 0..<(seed >> 33) % 40 {
        seed = seed &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        text.unicodeScalars.append(alphabet[Int(seed >> 33) % alphabet.count])
      }
      #expect(Challenge.parse(text).allSatisfy { !$0.scheme.isEmpty })
      _ = HeaderValues.nextLink(text)
      #expect((HeaderValues.retryAfter(text, now: 5) ?? 0) >= 0)
      #expect((HeaderValues.uploadedBytes(text) ?? 0) >= 0)
      if let range = HeaderValues.contentRange(text) { #expect(range.start >= 0) }
      if let address = WebAddress(isSecure: true, host: "a.io", port: 443, target: "/b").resolving(text) {
        #expect(WebAddress(address.text) == address)
      }
    }
  }

  // MARK: Retry-After

  @Test(
    arguments: [
      ("0", 0), ("120", 120), (" 7 ", 7), ("99999999999999999999", Int.max), ("-1", nil), ("1.5", nil), ("", nil),
      ("Sun, 06 Nov 1994 08:49:37 GMT", 0), ("Thu, 01 Jan 2026 00:00:30 GMT", 30), ("soon", nil),
      ("Thu, 01 Foo 2026 00:00:30 GMT", nil), ("Thu, 01 Jan 2026 24:00:30 GMT", nil), ("Thu, 01 Jan 2026", nil),
    ] as [(String, Int?)])
  func `a time to wait is a count of seconds or a date`(text: String, seconds: Int?) {
    #expect(HeaderValues.retryAfter(text, now: 1_767_225_600) == seconds)
  }

  @Test(arguments: [
    ("Thu, 01 Jan 1970 00:00:00 GMT", 0), ("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777),
    ("Tue, 29 Feb 2000 12:00:00 GMT", 951_825_600), ("Thu, 31 Dec 2099 23:59:59 GMT", 4_102_444_799),
  ])
  func `a date is counted from 1970`(text: String, seconds: Int) {
    #expect(HeaderValues.date(text) == seconds)
  }

  // MARK: Link, Range, Content-Type

  @Test(
    arguments: [
      (#"</v2/a/tags/list?last=b&n=2>; rel="next""#, "/v2/a/tags/list?last=b&n=2"),
      (#"<x>; rel=prev, <y>; title="z"; rel=next"#, "y"), (#"<x>; rel="first next""#, "x"), ("<x>", nil),
      ("<x; rel=next", nil), ("", nil), ("x; rel=next", nil),
    ] as [(String, String?)])
  func `the next page is the link of that relation`(text: String, target: String?) {
    #expect(HeaderValues.nextLink(text) == target)
  }

  @Test(
    arguments: [
      ("0-0", 0), ("0-1023", 1024), ("bytes=0-9", 10), ("1-2", nil), ("0-", nil), ("0--1", nil), ("x", nil),
      ("0-99999999999999999999", nil),
    ] as [(String, Int?)])
  func `the range of an upload says how much is there`(text: String, bytes: Int?) {
    #expect(HeaderValues.uploadedBytes(text) == bytes)
  }

  @Test func `a content range says where it starts and how much there is`() throws {
    let range = try #require(HeaderValues.contentRange("bytes 10-99/100"))
    #expect(range.start == 10 && range.whole == 100)
    let open = try #require(HeaderValues.contentRange("bytes 10-99/*"))
    #expect(open.whole == nil)
    for text in ["bytes 9-1/100", "bytes */100", "10-99/100", "bytes a-b/c", "bytes 1-2"] {
      #expect(HeaderValues.contentRange(text) == nil)
    }
  }

  @Test func `a media type is compared without parameters and case`() {
    #expect(HeaderValues.mediaType(" Text/HTML ; charset=utf-8") == "text/html")
  }

  // MARK: URLs

  @Test func `a location is resolved against where it was found`() throws {
    let base = try #require(WebAddress("https://ghcr.io/v2/a/blobs/uploads/1?state=x"))
    #expect(base.resolving("/v2/b?c=d")?.text == "https://ghcr.io/v2/b?c=d")
    #expect(base.resolving("2")?.text == "https://ghcr.io/v2/a/blobs/uploads/2")
    #expect(base.resolving("?y")?.text == "https://ghcr.io/v2/a/blobs/uploads/1?y")
    #expect(base.resolving("//cdn.io:444/x")?.text == "https://cdn.io:444/x")
    #expect(base.resolving("http://127.0.0.1:80/x")?.authority == "127.0.0.1")
    for text in ["ftp://x/y", "javascript:1", "https://", "https://a@b/", "https://b:0/", "https://a b/"] {
      #expect(base.resolving(text) == nil, "\(text)")
    }
  }

  @Test func `the origin is the scheme, the host and the port`() throws {
    let a = try #require(WebAddress("https://a.io/x"))
    #expect(a.hasSameOrigin(as: try #require(WebAddress("HTTPS://A.io:443/y"))))
    for other in ["http://a.io/x", "https://a.io:444/x", "https://b.io/x", "https://sub.a.io/"] {
      #expect(!a.hasSameOrigin(as: try #require(WebAddress(other))))
    }
  }

  @Test func `only this machine's own names count as loopback`() {
    for host in ["localhost", "127.0.0.1", "127.1.2.3", "[::1]"] { #expect(WebAddress.isLoopback(host)) }
    for host in ["127.0.0.1.evil.io", "localhost.evil.io", "127.evil.io.x", "10.0.0.1", "127.0.0.256", "127.0.0"] {
      #expect(!WebAddress.isLoopback(host))
    }
  }

  // MARK: Retries

  @Test func `waits double up to a cap, each a random part of that`() {
    let policy = RetryPolicy()
    let waits = (1...5).map { policy.delay(failures: $0, waited: .zero, retryAfter: nil, random: 0.5) }
    #expect(waits == [125, 250, 500, 1000, 2000].map { .milliseconds($0) })
    #expect(policy.delay(failures: 1, waited: .zero, retryAfter: nil, random: 0) == .zero)
    #expect(policy.delay(failures: 6, waited: .zero, retryAfter: nil, random: 0) == nil)
  }

  @Test func `a server's wish is a minimum, unless it exceeds the budget`() {
    let policy = RetryPolicy()
    #expect(policy.delay(failures: 1, waited: .zero, retryAfter: 3, random: 0.5) == .milliseconds(3125))
    #expect(policy.delay(failures: 1, waited: .zero, retryAfter: 3600, random: 0) == nil)
    #expect(policy.delay(failures: 1, waited: .seconds(89), retryAfter: 2, random: 0) == nil)
    #expect(policy.delay(failures: 1, waited: .zero, retryAfter: .max, random: 0) == nil)
  }

  // MARK: Base64

  @Test(arguments: [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("user:pä🙂", "dXNlcjpww6Twn5mC")])
  func `base64 is RFC 4648's`(text: String, encoded: String) {
    #expect(Base64.encode(Array(text.utf8)) == encoded)
    #expect(Base64.decode(encoded) == Array(text.utf8))
  }

  @Test(arguments: ["a", "Zg===", "Z g=", "Zm9v!", "====="])
  func `what is not base64 is refused`(text: String) {
    #expect(Base64.decode(text) == nil)
  }
}
