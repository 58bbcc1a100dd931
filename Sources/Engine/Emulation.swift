import Caching
import Diagnostics
import Glibc
import Graph
import SystemPackage

/// Whether this host runs programs of other platforms: what binfmt_misc (the kernel's, admin-guide/binfmt-misc.rst) has
/// for them.
package struct Emulation: Sendable {
  /// One interpreter that the kernel knows.
  struct Entry: Sendable {
    var name: String
    var isEnabled: Bool
    var interpreter: String
    var flags: String
    var offset: Int
    var magic: [UInt8]
    var mask: [UInt8]

    /// `nil` for what is matched by its extension, or cannot be read.
    init?(name: String, text: String) {
      var fields: [Substring: Substring] = [:]
      let lines = text.split(separator: "\n")
      for line in lines.dropFirst() {
        let words = line.split(separator: " ", maxSplits: 1)
        if words.count == 2 { fields[words[0].hasSuffix(":") ? words[0].dropLast() : words[0]] = words[1] }
      }
      guard let magic = fields["magic"].flatMap(Self.bytes), let interpreter = fields["interpreter"] else { return nil }
      let mask = fields["mask"].flatMap(Self.bytes) ?? Array(repeating: 255, count: magic.count)
      guard mask.count == magic.count, let offset = Int(fields["offset"] ?? "0"), offset >= 0 else { return nil }
      self.name = name
      isEnabled = lines.first == "enabled"
      self.interpreter = String(interpreter)
      flags = fields["flags"].map(String.init) ?? ""
      self.offset = offset
      self.magic = magic
      self.mask = mask
    }

    private static func bytes(_ hex: Substring) -> [UInt8]? {
      let digits = Array(hex.utf8)
      guard !digits.isEmpty, digits.count % 2 == 0 else { return nil }
      return stride(from: 0, to: digits.count, by: 2).reduce(into: [UInt8]?([])) { bytes, index in
        let pair = String(decoding: digits[index..<index + 2], as: UTF8.self)
        if let byte = UInt8(pair, radix: 16) { bytes?.append(byte) } else { bytes = nil }
      }
    }

    func matches(_ header: [UInt8]) -> Bool {
      guard offset + magic.count <= header.count else { return false }
      return magic.indices.allSatisfy { header[offset + $0] & mask[$0] == magic[$0] & mask[$0] }
    }

    /// The kernel has opened the interpreter, so that a sandbox needs none of its own.
    var isFixed: Bool { flags.contains("F") }
  }

  /// Why nothing runs for a platform.
  package struct Obstacle: Error, Sendable, Equatable {
    /// Lower case, without a full stop.
    package var reason: String
    package var hint: String
  }

  private var entries: [Entry]
  /// binfmt_misc is not mounted, or switched off.
  private var absence: String?

  /// As the kernel has it now.
  package init(folder: String = "/proc/sys/fs/binfmt_misc") {
    switch Self.text(folder + "/status")?.filter({ !$0.isNewline }) {
    case "enabled": absence = nil
    case nil: absence = "binfmt_misc is not mounted at `\(folder)`"
    default: absence = "binfmt_misc is switched off in `\(folder)/status`"
    }
    let names = ((try? Disk.names(inFolder: folder)) ?? []).filter { $0 != "status" && $0 != "register" }.sorted()
    entries = names.compactMap { name in Self.text("\(folder)/\(name)").flatMap { Entry(name: name, text: $0) } }
  }

  /// Files of proc have no size; 4 KiB is a page, which is all that the kernel writes there.
  private static func text(_ path: String) -> String? {
    guard let file = try? FileDescriptor.open(path, .readOnly, options: .closeOnExec) else { return nil }
    defer { try? file.close() }
    var buffer = [UInt8](repeating: 0, count: 4096)
    guard let count = try? buffer.withUnsafeMutableBytes({ try file.read(into: $0) }) else { return nil }
    return String(decoding: buffer.prefix(count), as: UTF8.self)
  }

  /// The processors that are known, with what an ELF header says of them (psABIs) and what Debian calls their emulator.
  private static let processors: [(platform: String, machine: UInt8, is64: Bool, isBig: Bool, emulator: String)] = [
    ("linux/386", 3, false, false, "i386"), ("linux/amd64", 62, true, false, "x86_64"),
    ("linux/arm", 40, false, false, "arm"), ("linux/arm64", 183, true, false, "aarch64"),
    ("linux/mips64le", 8, true, false, "mips64el"), ("linux/ppc64le", 21, true, false, "ppc64le"),
    ("linux/riscv64", 243, true, false, "riscv64"), ("linux/s390x", 22, true, true, "s390x"),
  ]

  /// Those that `doctor` speaks of.
  package static let usual = ["linux/amd64", "linux/arm64"]

  /// The first 64 bytes of a program for a platform; variants of a processor have the same.
  static func header(of platform: String) -> [UInt8]? {
    let name = platform.split(separator: "/").prefix(2).joined(separator: "/")
    guard let processor = processors.first(where: { $0.platform == name }) else { return nil }
    var header = [UInt8](repeating: 0, count: 64)
    header.replaceSubrange(
      0..<7, with: [0x7f, 0x45, 0x4c, 0x46, processor.is64 ? 2 : 1, processor.isBig ? 2 : 1, 1])
    // e_type 2 (an executable) and e_machine, 16 bits each.
    header[processor.isBig ? 17 : 16] = 2
    header[processor.isBig ? 19 : 18] = processor.machine
    return header
  }

  /// What runs a platform's programs: the name of its entry.
  ///
  /// - Throws: An `Obstacle`.
  package func interpreter(for platform: String) throws(Obstacle) -> String {
    let install = "install emulators and register them with the kernel: apt-get install qemu-user-static"
    guard let header = Self.header(of: platform) else {
      throw Obstacle(
        reason: "slipway knows no programs for \(platform)", hint: "it knows those for \(Self.names)")
    }
    if let absence { throw Obstacle(reason: absence, hint: install) }
    let matching = entries.filter { $0.matches(header) }
    if let entry = matching.first(where: { $0.isEnabled && $0.isFixed }) { return entry.name }
    if let entry = matching.first(where: \.isEnabled) {
      throw Obstacle(
        reason:
          "the entry `\(entry.name)` of binfmt_misc lacks the flag F, and a sandbox has no `\(entry.interpreter)`",
        hint: "register it again with the flag F, as qemu-user-static does: apt-get install qemu-user-static")
    }
    if let entry = matching.first {
      throw Obstacle(
        reason: "the entry `\(entry.name)` of binfmt_misc is disabled",
        hint: "enable it: echo 1 > /proc/sys/fs/binfmt_misc/\(entry.name)")
    }
    throw Obstacle(reason: "no entry of binfmt_misc takes programs for \(platform)", hint: install)
  }

  private static var names: String { processors.map(\.platform).joined(separator: ", ") }

  /// - Parameter hasChoice: Whether `--platform` can leave the platform out.
  /// - Throws: What keeps a target from running on its platform, and what to do.
  func require(_ label: Label, for platform: String, host: String, hasChoice: Bool = true) throws {
    do throws(Obstacle) {
      _ = try interpreter(for: platform)
    } catch {
      throw Diagnostic.error(
        "\(label.withoutPlatform) cannot run for \(platform) on this host, which is \(host)", cause: .environment,
        notes: [Diagnostic.Note(error.reason)],
        hints: [error.hint] + (hasChoice ? ["or leave the platform out: --platform \(host)"] : []))
    }
  }
}
