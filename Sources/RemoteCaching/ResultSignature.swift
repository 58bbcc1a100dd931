import enum Crypto.Curve25519
import Diagnostics
import Digests
import FoundationEssentials
import RemoteExecutionAPI
import SwiftProtobuf

/// An Ed25519 key that makes results count: `ed25519:` and the base 64 of its 32 bytes.
package struct TrustedKey: Hashable, Sendable, CustomStringConvertible {
  let bytes: [UInt8]

  /// nil for what is no such key.
  package init?(_ text: some StringProtocol) {
    guard text.hasPrefix(Self.prefix), let data = Data(base64Encoded: String(text.dropFirst(Self.prefix.count))),
      data.count == 32, (try? Curve25519.Signing.PublicKey(rawRepresentation: data)) != nil
    else { return nil }
    bytes = Array(data)
  }

  init(_ key: Curve25519.Signing.PublicKey) { bytes = Array(key.rawRepresentation) }

  private static let prefix = "ed25519:"
  package var description: String { Self.prefix + Data(bytes).base64EncodedString() }
}

/// The secret half, which signs.
package struct SigningKey: Sendable, CustomStringConvertible, CustomReflectable {
  private let key: Curve25519.Signing.PrivateKey

  package init() { key = Curve25519.Signing.PrivateKey() }

  /// What a key file holds, `slipway-key:` and the base 64 of 32 bytes; nil for what is none.
  package init?(_ text: some StringProtocol) {
    let line = text.split(separator: "\n", omittingEmptySubsequences: true).first ?? ""
    guard line.hasPrefix(Self.prefix), let data = Data(base64Encoded: String(line.dropFirst(Self.prefix.count))),
      let key = try? Curve25519.Signing.PrivateKey(rawRepresentation: data)
    else { return nil }
    self.key = key
  }

  private static let prefix = "slipway-key:"
  /// What to write to a file that nobody else may read.
  package var secret: String { Self.prefix + key.rawRepresentation.base64EncodedString() }
  package var trusted: TrustedKey { TrustedKey(key.publicKey) }
  package var description: String { "the secret key of \(trusted)" }
  package var customMirror: Mirror { Mirror(self, children: []) }

  func sign(_ bytes: [UInt8]) -> [UInt8]? { (try? key.signature(for: Data(bytes))).map { Array($0) } }
}

/// Who vouches for a result (definitions: "Signature").
package enum ResultTrust: Hashable, Sendable {
  case signed(by: TrustedKey)
  case unsigned
  /// Rightly signed, by somebody whose results do not count here.
  case stranger(TrustedKey)
  case forged
}

extension REAPIActionResult {
  private static let purpose = Array("slipway-ar-1".utf8)

  private func signedBytes(_ action: Digest) -> [UInt8] {
    var bare = self
    bare.executionMetadata.auxiliaryMetadata.removeAll { $0.isA(SlipwayResultSignature.self) }
    return Self.purpose + Array(action.hex.utf8) + Array(Digest(of: bare.canonicalBytes).hex.utf8)
  }

  /// The result with a signature in place of any that it had.
  package func signed(_ action: Digest, by key: SigningKey) -> REAPIActionResult {
    var result = self
    result.executionMetadata.auxiliaryMetadata.removeAll { $0.isA(SlipwayResultSignature.self) }
    var signature = SlipwayResultSignature()
    signature.publicKey = Data(key.trusted.bytes)
    guard let bytes = key.sign(result.signedBytes(action)) else { return result }
    signature.signature = Data(bytes)
    if let packed = try? Google_Protobuf_Any(message: signature) {
      result.executionMetadata.auxiliaryMetadata.append(packed)
    }
    return result
  }

  package func trust(_ action: Digest, among trusted: Set<TrustedKey>) -> ResultTrust {
    let packed = executionMetadata.auxiliaryMetadata.filter { $0.isA(SlipwayResultSignature.self) }
    guard let only = packed.first else { return .unsigned }
    guard packed.count == 1, let signature = try? SlipwayResultSignature(unpackingAny: only),
      let key = try? Curve25519.Signing.PublicKey(rawRepresentation: signature.publicKey),
      key.isValidSignature(signature.signature, for: Data(signedBytes(action)))
    else { return .forged }
    let signer = TrustedKey(key)
    return trusted.contains(signer) ? .signed(by: signer) : .stranger(signer)
  }
}
