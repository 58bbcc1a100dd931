/// What a target does.
package enum Rule: String, CaseIterable, Hashable, Sendable {
  case files, fetch, rootfs, pull, action, image, test, suite, publish

  /// Whether it runs a command that the user wrote.
  package var runsCommand: Bool { self == .fetch || self == .action || self == .test }
}
