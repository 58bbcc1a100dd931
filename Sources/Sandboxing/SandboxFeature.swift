import CSandbox
import Diagnostics
import Glibc
import SystemPackage

/// One thing that the sandbox needs or profits from, and whether this host offers it: a line of `slipway doctor`.
package struct SandboxFeature: Sendable {
  package var name: String
  package var isOffered: Bool
  /// Without it no action can run; the others cost a single ability.
  package var isRequired: Bool
  /// What was found.
  package var explanation: String
  package var hints: [String]

  init(_ name: String, _ isOffered: Bool, _ explanation: String, isRequired: Bool = false, hints: [String] = []) {
    self.name = name
    self.isOffered = isOffered
    self.isRequired = isRequired
    self.explanation = explanation
    self.hints = isOffered ? [] : hints
  }

  /// Tries everything on this host; `folder` is where scratch folders and layers will lie.
  package static func all(scratch folder: String) async -> [SandboxFeature] {
    let sandbox = NamespaceSandbox()
    var features = [userNamespaces]
    features.append(await trial("sandbox", in: sandbox, isRequired: true) { _ in })
    features.append(await trial("sandbox on the host's network", in: sandbox) { $0.network = .host })
    features.append(await scratchTrial(in: sandbox, below: folder))
    features.append(await limitsTrial(in: sandbox))
    features.append(
      SandboxFeature(
        "scratch space in memory", keepsOverlaysInMemory,
        keepsOverlaysInMemory ? "works" : "files in memory have no extended attributes here",
        hints: ["what actions write goes to the disk, and is not held to `scratch:`; Linux 6.6 keeps it in memory"]))
    let landlock = slipway_landlock_version()
    features.append(
      SandboxFeature(
        "abstract sockets kept apart", keepsAbstractSocketsApart,
        landlock == 0 ? "the kernel has no Landlock" : "Landlock has version \(landlock)",
        hints: ["with `network: host` an action could reach the host's abstract sockets; Linux 6.12 prevents it"]))
    features.append(subordinateIdentifiers)
    features.append(await runc())
    return features
  }

  /// Whether a scratch space in memory can hold all that an action may do to an image: an overlay notes in extended
  /// attributes which folders are not those below any more, and files in memory have them since Linux 6.6.
  package static let keepsOverlaysInMemory = slipway_memory_keeps_overlays()

  /// Whether an action on the host's network is kept from the host's abstract sockets, which have no file (Landlock 6).
  package static let keepsAbstractSocketsApart = slipway_landlock_version() >= 6

  private static var userNamespaces: SandboxFeature {
    let hint = HostSettings.current.userNamespaceHint
    return SandboxFeature(
      "user namespaces", hint == nil, hint == nil ? "no setting forbids them" : "a setting forbids them",
      isRequired: true, hints: hint.map { [$0] } ?? [])
  }

  /// Makes a sandbox without a program in it: when nothing but the program is missing, all the rest was there.
  private static func trial(
    _ name: String, in sandbox: any Sandbox, isRequired: Bool = false, missing: Int32 = 127,
    _ change: (inout SandboxSpec) -> Void
  ) async -> SandboxFeature {
    var spec = SandboxSpec()
    spec.arguments = ["/missing"]
    spec.limits.wallClock = 10
    spec.limits.scratch = 1 << 20
    change(&spec)
    do {
      let result = try await sandbox.run(spec)
      let isOffered = result.status == .exited(missing)
      return SandboxFeature(
        name, isOffered, isOffered ? "works" : "ended with \(result.status)", isRequired: isRequired)
    } catch let error as Diagnostic {
      return SandboxFeature(name, false, error.message, isRequired: isRequired, hints: error.hints)
    } catch {
      return SandboxFeature(name, false, "\(error)", isRequired: isRequired)
    }
  }

  private static func limitsTrial(in sandbox: any Sandbox) async -> SandboxFeature {
    var spec = SandboxSpec()
    spec.arguments = ["/missing"]
    spec.limits.wallClock = 10
    spec.limits.totalMemory = 1 << 30
    // Where there is no sandbox at all, the trial of that says why.
    let isOffered = ((try? await sandbox.run(spec)) ?? .cancelled(outputs: 0)).isLimitedAsWhole
    return SandboxFeature(
      "limits on a sandbox as a whole", isOffered,
      isOffered
        ? "`memory:` holds for all processes of an action together (control group)"
        : "`memory:` holds for each process alone, four times over: no control group may be divided here",
      hints: [
        "`systemd-run --user --scope -p Delegate=yes slipway …` starts Slipway in a control group of its own"
      ])
  }

  private static func scratchTrial(in sandbox: any Sandbox, below folder: String) async -> SandboxFeature {
    let name = "scratch folder in `\(folder)`"
    let template = "\(folder)/sandbox-XXXXXX"
    var bytes = Array(template.utf8CString)
    guard mkdtemp(&bytes) != nil else {
      let reason = Errno(rawValue: errno).description.lowercasedFirst
      return SandboxFeature(name, false, "cannot make a folder there: \(reason)", isRequired: true)
    }
    let path = String(decoding: bytes.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
    defer { slipway_remove_tree(path) }
    let layer = "\(path)/layer"
    let scratch = "\(path)/scratch"
    mkdir(layer, 0o755)
    mkdir(scratch, 0o755)
    return await trial(name, in: sandbox, isRequired: true) { spec in
      spec.layers = [layer]
      spec.scratch = .folder(scratch)
    }
  }

  /// mmdebstrap, of the rule `rootfs`, maps a range of ids; a sandbox does not.
  private static var subordinateIdentifiers: SandboxFeature {
    let name = "subordinate ids"
    if geteuid() == 0 { return SandboxFeature(name, true, "root needs none") }
    let user = String(geteuid())
    let account = getpwuid(geteuid()).map { String(cString: $0.pointee.pw_name) } ?? user
    let hints = [
      "`rootfs` targets need them: `apt-get install uidmap`, `usermod --add-subuids 100000-165535 \(account)`"
    ]
    guard access("/usr/bin/newuidmap", X_OK) == 0 || access("/bin/newuidmap", X_OK) == 0 else {
      return SandboxFeature(name, false, "`newuidmap` is not installed", hints: hints)
    }
    for path in ["/etc/subuid", "/etc/subgid"] {
      let lines = (try? contents(of: path))?.split(separator: "\n") ?? []
      let isListed = lines.contains { $0.hasPrefix("\(account):") || $0.hasPrefix("\(user):") }
      if !isListed { return SandboxFeature(name, false, "`\(path)` has no line for `\(account)`", hints: hints) }
    }
    return SandboxFeature(name, true, "`\(account)` has a range")
  }

  private static func runc() async -> SandboxFeature {
    do {
      // runc ends with 1 where the command is not to be found.
      return await trial("runc", in: try RuncSandbox(), missing: 1) { _ in }
    } catch {
      let diagnostic = error as? Diagnostic
      return SandboxFeature(
        "runc", false, diagnostic?.message ?? "\(error)",
        hints: ["only `--sandbox runc` needs it: `apt-get install runc`"])
    }
  }

  private static func contents(of path: String) throws -> String {
    let file = try FileDescriptor.open(FilePath(path), .readOnly, options: .closeOnExec)
    defer { try? file.close() }
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 65_536)
    while bytes.count < 1 << 24 {
      let count = try buffer.withUnsafeMutableBytes { try file.read(into: $0) }
      if count == 0 { break }
      bytes += buffer.prefix(count)
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}

/// Removes a scratch folder, whatever modes an action and the overlay left in it; what is not there is no error.
package func removeScratchFolder(_ path: String) throws {
  guard slipway_remove_tree(path) != 0 else { return }
  throw Diagnostic.system("cannot remove scratch folder `\(path)`", errno)
}
