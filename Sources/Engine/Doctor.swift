import Caching
import Diagnostics
import Glibc
import Sandboxing
import SystemPackage

/// One thing that Slipway needs of a host, and whether it is there.
package struct HostFinding: Sendable {
  package var name: String
  package var isOffered: Bool
  /// Without it no build can succeed.
  package var isRequired: Bool
  package var explanation: String
  package var hints: [String] = []
}

extension Session {
  /// Looks at everything that a build may need: sandbox, cache, host tools.
  package static func examineHost() async throws -> [HostFinding] {
    var findings: [HostFinding] = []
    let cache = try cacheFolder()
    var scratch = "/tmp"
    do {
      let store = try Store(root: cache)
      let probe = try store.makeTemporaryFolder()
      scratch = probe.string
      let free = Disk.room(cache.string) ?? 0
      findings.append(
        HostFinding(
          name: "cache", isOffered: true, isRequired: true,
          explanation: "\(cache) can be written; \(ByteText.short(free)) free"))
      findings += await sandboxFindings(scratch)
      try? Disk.removeTree(probe.string)
    } catch {
      findings.append(
        HostFinding(
          name: "cache", isOffered: false, isRequired: true,
          explanation: (error as? Diagnostic)?.message ?? "\(error)",
          hints: ["set XDG_CACHE_HOME to a folder that can be written"]))
      findings += await sandboxFindings(scratch)
    }
    for (tool, use, package) in [
      ("/usr/bin/git", "the list of source files", "git"),
      ("/usr/bin/mmdebstrap", "root file systems (rule `rootfs`)", "mmdebstrap"),
      ("/usr/bin/newuidmap", "root file systems without root", "uidmap"),
    ] {
      let isThere = access(tool, X_OK) == 0
      findings.append(
        HostFinding(
          name: package, isOffered: isThere, isRequired: false, explanation: isThere ? tool : "needed for \(use)",
          hints: isThere ? [] : ["apt-get install \(package)"]))
    }
    return findings + platformFindings()
  }

  private static func platformFindings() -> [HostFinding] {
    let emulation = Emulation()
    return Emulation.usual.filter { $0 != Workspace.platform }.map { platform in
      var finding = HostFinding(
        name: "programs for \(platform)", isOffered: true, isRequired: false, explanation: "")
      do throws(Emulation.Obstacle) {
        finding.explanation = "run by `\(try emulation.interpreter(for: platform))`"
      } catch {
        finding.isOffered = false
        finding.explanation = "needed for actions of images for it: \(error.reason)"
        finding.hints = [error.hint]
      }
      return finding
    }
  }

  private static func sandboxFindings(_ folder: String) async -> [HostFinding] {
    await SandboxFeature.all(scratch: folder).map {
      HostFinding(
        name: $0.name, isOffered: $0.isOffered, isRequired: $0.isRequired, explanation: $0.explanation,
        hints: $0.hints)
    }
  }
}
