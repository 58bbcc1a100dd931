import Digests

/// What a source tree holds at a path: its mode class and the fingerprint of its content.
package struct SourceFile: Hashable, Sendable {
  package enum Mode: UInt8, Sendable {
    case regular, executable, symlink
    /// A git submodule: opaque, its content is its commit id.
    case submodule
  }

  package var path: WorkspacePath
  package var mode: Mode
  /// Of the bytes; of the link's text for a symlink; of the commit id's digits for a submodule.
  package var fingerprint: Fingerprint

  package init(path: WorkspacePath, mode: Mode, fingerprint: Fingerprint) {
    self.path = path
    self.mode = mode
    self.fingerprint = fingerprint
  }
}

/// A source file with what names its content on every machine.
package struct SourceContent: Hashable, Sendable {
  package var file: SourceFile
  /// Of the bytes, or of the link's text.
  package var digest: Digest
  /// Bytes.
  package var size: Int

  package init(file: SourceFile, digest: Digest, size: Int) {
    self.file = file
    self.digest = digest
    self.size = size
  }
}
