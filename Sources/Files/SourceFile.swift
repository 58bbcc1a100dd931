import Digests

/// What a source tree holds at a path: its mode class and the fingerprint of its content.
package struct SourceFile: Hashable, Sendable {
  package enum Mode: UInt8, Sendable {
    case regular, executable, symlink
  }

  package var path: WorkspacePath
  package var mode: Mode
  /// Of the bytes; of the link's text for a symlink.
  package var fingerprint: Fingerprint

  package init(path: WorkspacePath, mode: Mode, fingerprint: Fingerprint) {
    self.path = path
    self.mode = mode
    self.fingerprint = fingerprint
  }
}
