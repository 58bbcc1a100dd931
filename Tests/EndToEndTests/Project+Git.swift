import TestServers

extension Project {
  /// Runs git in the workspace, with an identity and without the caller's settings.
  func git(_ arguments: String...) throws {
    let identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    let end = try HostProcess(
      ["git"] + identity + arguments, directory: root, environment: ["PATH": "/usr/bin:/bin", "HOME": folder]
    ).finish()
    guard end.status == 0 else { throw Failure("git \(arguments): \(end.standardError)") }
  }

  /// Commits all files.
  func commit() throws {
    try git("add", "-A")
    try git("commit", "-q", "--allow-empty", "-m", "m")
  }
}
