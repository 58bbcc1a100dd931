import FoundationEssentials
import Glibc
import RemoteExecutionAPI
import SystemPackage
import Testing

/// The API's subset against what others have of it.
@Suite struct DescriptorTests {
  private static let top = #filePath.split(separator: "/").dropLast(3).reduce("") { "\($0)/\($1)" }

  /// Standard output and exit status.
  private func run(_ command: String) throws -> (text: String, status: Int32) {
    let stream = try #require(popen("{ \(command); } 2>&1", "r"))
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 65_536)
    while true {
      let count = fread(&buffer, 1, buffer.count, stream)
      if count == 0 { break }
      bytes += buffer.prefix(count)
    }
    return (String(decoding: bytes, as: UTF8.self), pclose(stream))
  }

  @Test func `every message, field, enum and method has its official name, number and type`() throws {
    let protos = "\(Self.top)/Sources/RemoteExecutionAPI/Protos"
    let compared = try run(
      """
      set -e; folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT; cd '\(protos)'
      protoc -I . --descriptor_set_out="$folder/ours.pb" --include_imports *.proto
      /usr/bin/python3 '\(Self.top)/Tests/RemoteExecutionAPITests/compare-descriptors.py' "$folder/ours.pb" \
        '\(Self.top)/.build-servers/buildstream/_protos'
      """)
    #expect(compared.status == 0 && compared.text.hasSuffix(", 0 differ\n"), "\(compared.text)")
  }

  /// The example of the API's own description of `Directory`'s canonical form is not in bytes; these are protobuf's.
  @Test func `a message has the bytes that protobuf gives it`() throws {
    var digest = REAPIDigest()
    digest.hash = "ab"
    digest.sizeBytes = 300
    let bytes: [UInt8] = try digest.serializedBytes()
    #expect(bytes == [0x0a, 2, 0x61, 0x62, 0x10, 0xac, 2])
    #expect(try REAPIDigest(serializedBytes: bytes) == digest)
  }
}
