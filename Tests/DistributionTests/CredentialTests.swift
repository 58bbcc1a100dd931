import Caching
import Diagnostics
import Glibc
import SystemPackage
import TestServers
import Testing

@testable import Distribution

@Suite struct CredentialTests {
  private func configuration(_ text: String) throws -> DockerConfiguration {
    try DockerConfiguration(decoding: Array(text.utf8), path: "/home/me/.docker/config.json")
  }

  @Test func `the file's credentials are found by host, in all the ways that keys are written`() throws {
    let file = try configuration(
      """
      {"auths": {
        "https://index.docker.io/v1/": {"auth": "aHViOnNlY3JldA=="},
        "ghcr.io": {"auth": "bWU6YTpiOmM="},
        "http://localhost:5000/v2/": {"username": "u", "password": "p"},
        "token.io": {"auth": "", "identitytoken": "refresh"},
        "raw.io": {"registrytoken": "bearer"},
        "empty.io": {}}, "HttpHeaders": {"x": "y"}}
      """)
    #expect(try file.credential(for: "docker.io") == .basic(user: "hub", password: "secret"))
    #expect(try file.credential(for: "ghcr.io") == .basic(user: "me", password: "a:b:c"))
    #expect(try file.credential(for: "localhost:5000") == .basic(user: "u", password: "p"))
    #expect(try file.credential(for: "token.io") == .identityToken("refresh"))
    #expect(try file.credential(for: "raw.io") == .registryToken("bearer"))
    for host in ["empty.io", "other.io", "localhost", "io", "ghcr.io:443"] {
      #expect(try file.credential(for: host) == nil)
    }
  }

  @Test func `helpers of a host come before the one for all`() throws {
    let file = try configuration(#"{"credHelpers": {"gcr.io": "gcloud"}, "credsStore": "pass"}"#)
    #expect(file.helper(for: "gcr.io")?.name == "gcloud")
    #expect(file.helper(for: "ghcr.io")?.name == "pass")
    #expect(file.helper(for: "docker.io")?.server == "https://index.docker.io/v1/")
  }

  @Test(arguments: ["", "[]", "{", #"{"auths": 3}"#, #"{"auths": {}, "auths": {}}"#, #"{"credHelpers": []}"#])
  func `a file that is not Docker's is refused by name`(text: String) {
    let error = #expect(throws: Diagnostic.self) { try configuration(text) }
    #expect(error?.message.contains("/home/me/.docker/config.json") == true)
  }

  @Test(arguments: ["!", "bm9jb2xvbg==", "OnNlY3JldA==", "/////w=="])
  func `a broken entry is an error that does not show it`(auth: String) throws {
    let file = try configuration(#"{"auths": {"ghcr.io": {"auth": "\#(auth)"}}}"#)
    let error = #expect(throws: Diagnostic.self) { try file.credential(for: "ghcr.io") }
    #expect(error?.rendered.contains(auth) == false)
    #expect(error?.hints == ["run `docker login ghcr.io` again"])
  }

  @Test func `variables are for the registry that they name`() {
    let variables = [
      "SLIPWAY_REGISTRY_USER_LOCALHOST_5000": "a", "SLIPWAY_REGISTRY_PASSWORD_LOCALHOST_5000": "b",
      "SLIPWAY_REGISTRY_HOST": "ghcr.io", "SLIPWAY_REGISTRY_USER": "c", "SLIPWAY_REGISTRY_PASSWORD": "d",
    ]
    #expect(CredentialSource.fromEnvironment(variables, registry: "localhost:5000") == .basic(user: "a", password: "b"))
    #expect(CredentialSource.fromEnvironment(variables, registry: "ghcr.io") == .basic(user: "c", password: "d"))
    #expect(CredentialSource.fromEnvironment(variables, registry: "docker.io") == nil)
    var nameless = variables
    nameless["SLIPWAY_REGISTRY_HOST"] = nil
    #expect(CredentialSource.fromEnvironment(nameless, registry: "ghcr.io") == nil, "a password goes to no stranger")
  }

  @Test func `a credential does not show its secret`() {
    for credential in [Credential.basic(user: "me", password: "hunter2"), .identityToken("hunter2")] {
      var dumped = ""
      dump(credential, to: &dumped)
      for text in ["\(credential)", String(reflecting: credential), String(describing: [credential]), dumped] {
        #expect(!text.contains("hunter2"))
      }
    }
  }

  // MARK: Helpers

  private func helper(_ script: String, timeout: Duration = .seconds(20)) throws -> (CredentialHelper, Fixture) {
    let fixture = try Fixture()
    let path = fixture.folder.string + "/docker-credential-test"
    // Another test's child, between fork and exec, would hold a file open that this process writes: ETXTBSY.
    try ServerProcess.write("#!/bin/sh\n" + script, to: path + ".sh")
    try ServerProcess.run(["install", "-m", "755", path + ".sh", path], folder: fixture.folder)
    let path2 = fixture.folder.string + ":/usr/bin:/bin"
    return (CredentialHelper(name: "test", environment: ["PATH": path2], timeout: timeout), fixture)
  }

  @Test func `a helper is asked by standard input and answers in JSON`() async throws {
    let (helper, fixture) = try helper(
      """
      read server; echo "$1 $server" > \(String("$(dirname $0)"))/asked
      echo '{"ServerURL": "x", "Username": "me", "Secret": "s"}'
      """)
    #expect(try await helper.credential(for: "ghcr.io") == .basic(user: "me", password: "s"))
    #expect(ServerProcess.text(fixture.folder.string + "/asked") == "get ghcr.io\n")
  }

  @Test func `a helper's token user means an identity token`() async throws {
    let (helper, fixture) = try helper(#"echo '{"Username": "<token>", "Secret": "s"}'"#)
    #expect(try await helper.credential(for: "ghcr.io") == .identityToken("s"))
    withExtendedLifetime(fixture) {}
  }

  @Test func `a helper that knows nothing gives nothing`() async throws {
    let (helper, fixture) = try helper("echo credentials not found in native keychain; exit 1")
    #expect(try await helper.credential(for: "ghcr.io") == nil)
    withExtendedLifetime(fixture) {}
  }

  @Test(arguments: [
    ("exit 3", "failed with exit status 3"), ("kill -9 $$", "failed with exit status 137"),
    ("echo hunter2", "gave an answer that is not the JSON of a credential"),
    ("head -c 100000 /dev/zero", "gave an answer of more than 64 KiB"),
    ("sleep 60", "gave no answer within 0 s"),
    ("echo hunter2; exec >&-; exec <&-; sleep 60", "gave no answer within 0 s"),
  ])
  func `a helper that fails is named, with nothing of what it said`(script: String, reason: String) async throws {
    let (helper, fixture) = try helper(script, timeout: .milliseconds(reason.contains("within") ? 300 : 20_000))
    let text = await diagnosed { _ = try await helper.credential(for: "ghcr.io") }
    #expect(
      text == """
        error: the credential helper `docker-credential-test` \(reason)
        hint: it is named by `credsStore` or `credHelpers` in Docker's `config.json`

        """)
    withExtendedLifetime(fixture) {}
  }

  @Test func `a helper that is nowhere is an error, as is a name with a path`() async {
    for (name, reason) in [("absent", "was not found on PATH"), ("../x", "is not the name of a program")] {
      let helper = CredentialHelper(name: name, environment: ["PATH": "/nowhere:relative"])
      let text = await diagnosed { _ = try await helper.credential(for: "ghcr.io") }
      #expect(text?.contains(reason) == true)
    }
  }

  @Test func `the standard source asks the helper that the file names, and falls back to the file`() async throws {
    let (helper, fixture) = try helper("echo credentials not found; exit 1")
    let folder = fixture.folder.string
    try ServerProcess.write(
      #"{"credsStore": "test", "auths": {"ghcr.io": {"auth": "bWU6cHc="}}}"#, to: folder + "/config.json")
    let source = CredentialSource.standard(
      environment: ["DOCKER_CONFIG": folder, "PATH": helper.environment["PATH"] ?? ""])
    #expect(try await source.credential("ghcr.io") == .basic(user: "me", password: "pw"))
    #expect(try await source.credential("quay.io") == nil)
    let none = CredentialSource.standard(environment: ["HOME": folder + "/nobody"])
    #expect(try await none.credential("ghcr.io") == nil)
  }
}
