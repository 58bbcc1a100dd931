import Diagnostics
import Glibc

/// The second backend: the same root file system, and a container that runc makes from an OCI `config.json`.
///
/// Where root started it, it gives the results of `NamespaceSandbox`. An ordinary user has one id to map and runc must
/// have a user 0, so there the process sees itself as user 0. A command that cannot be executed ends with runc's own
/// status and message, the command is process 1 (so its own signals do not end it, and another process's appear as 128
/// plus the number), and `interactive` is refused.
package struct RuncSandbox: Sandbox {
  private let sandbox: NamespaceSandbox

  /// Throws where there is no runc in the usual folders.
  package init(path: String? = nil, executable: String = "/proc/self/exe") throws {
    let places = ["/usr/sbin/runc", "/usr/bin/runc", "/usr/local/sbin/runc", "/usr/local/bin/runc"]
    guard let path = path ?? places.first(where: { access($0, X_OK) == 0 }) else {
      throw Diagnostic.error("runc is not installed", cause: .environment, hints: ["`apt-get install runc`"])
    }
    sandbox = NamespaceSandbox(executable: executable, runtime: OCIRuntime(path: path, user: geteuid() == 0 ? 1000 : 0))
  }

  package func prepare() { sandbox.prepare() }

  package func run(_ spec: SandboxSpec) async throws -> SandboxResult {
    if spec.interactive {
      throw Diagnostic.error(
        "runc offers no interactive sandbox", cause: .input, hints: ["leave `--sandbox runc` out for a shell"])
    }
    return try await sandbox.run(spec)
  }
}
