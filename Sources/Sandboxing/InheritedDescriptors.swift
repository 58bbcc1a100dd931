import CSandbox

/// What the caller of this program left open, beyond the standard streams.
package enum InheritedDescriptors {
  /// Keeps them from git, mmdebstrap and every other program that is started from now on.
  ///
  /// They could write to what their owner thinks nobody has, and some cannot work with them: mmdebstrap hands its own
  /// descriptor to a shell by number, and dash knows numbers of one digit only.
  package static func closeOnExec() { slipway_sandbox_inherit_nothing() }
}
