import Glibc
import Graph
import SystemPackage
import Testing

@testable import Engine

/// What binfmt_misc says, and what follows from it.
@Suite struct EmulationTests {
  /// As qemu-user-static registers it.
  private static let arm64 = """
    enabled
    interpreter /usr/libexec/qemu-binfmt/aarch64-binfmt-P
    flags: POCF
    offset 0
    magic 7f454c460201010000000000000000000200b700
    mask ffffffffffffff00fffffffffffffffffeffffff

    """

  private func emulation(_ entries: [String: String], status: String? = "enabled\n") throws -> Emulation {
    var template = Array("/tmp/slipway-binfmt-XXXXXX".utf8CString)
    let folder = try #require(mkdtemp(&template).map { String(cString: $0) })
    defer {
      for name in Array(entries.keys) + ["status", "register"] { unlink("\(folder)/\(name)") }
      rmdir(folder)
    }
    var all = entries
    all["status"] = status
    for (name, text) in all {
      let file = try FileDescriptor.open(
        FilePath("\(folder)/\(name)"), .writeOnly, options: [.create], permissions: .ownerReadWrite)
      defer { try? file.close() }
      _ = try file.writeAll(text.utf8)
    }
    return Emulation(folder: folder)
  }

  private func obstacle(_ emulation: Emulation, _ platform: String) -> Emulation.Obstacle? {
    do throws(Emulation.Obstacle) {
      _ = try emulation.interpreter(for: platform)
      return nil
    } catch { return error }
  }

  @Test func `an enabled entry with the flag F whose magic is the platform's runs it, and no other`() throws {
    let emulation = try emulation(["qemu-aarch64": Self.arm64, "python3": "enabled\nextension .py\ninterpreter /p\n"])
    #expect(try emulation.interpreter(for: "linux/arm64") == "qemu-aarch64")
    for other in ["linux/amd64", "linux/arm", "linux/arm/v7", "linux/s390x", "linux/riscv64", "linux/386"] {
      #expect(obstacle(emulation, other)?.reason == "no entry of binfmt_misc takes programs for \(other)")
    }
    #expect(obstacle(emulation, "linux/vax")?.reason == "slipway knows no programs for linux/vax")
  }

  @Test func `magics of big-endian and of 32-bit processors match theirs`() throws {
    let s390x =
      "enabled\ninterpreter /q\nflags: F\noffset 0\nmagic 7f454c4602020100000000000000000000020016\n"
      + "mask ffffffffffffff00fffffffffffffffffffeffff\n"
    let arm =
      "enabled\ninterpreter /q\nflags: F\noffset 0\nmagic 7f454c4601010100000000000000000002002800\n"
      + "mask ffffffffffffff00fffffffffffffffffeffffff\n"
    let emulation = try emulation(["s": s390x, "a": arm])
    #expect(try emulation.interpreter(for: "linux/s390x") == "s")
    #expect(try emulation.interpreter(for: "linux/arm/v7") == "a")
    #expect(obstacle(emulation, "linux/arm64") != nil)
  }

  @Test func `what is missing is said, with what to do`() throws {
    let unfixed = try emulation(["q": Self.arm64.replacing("POCF", with: "OC")])
    #expect(obstacle(unfixed, "linux/arm64")?.reason.contains("`q` of binfmt_misc lacks the flag F") == true)
    let disabled = try emulation(["q": Self.arm64.replacing("enabled", with: "disabled")])
    #expect(obstacle(disabled, "linux/arm64")?.hint == "enable it: echo 1 > /proc/sys/fs/binfmt_misc/q")
    let off = try emulation(["q": Self.arm64], status: "disabled\n")
    #expect(obstacle(off, "linux/arm64")?.reason.contains("switched off") == true)
    let none = try emulation([:], status: nil)
    #expect(obstacle(none, "linux/arm64")?.reason.contains("not mounted") == true)
    #expect(obstacle(none, "linux/arm64")?.hint.contains("apt-get install qemu-user-static") == true)
  }

  @Test(arguments: [
    "", "enabled", "enabled\nmagic zz\ninterpreter /q", "enabled\nmagic 7f4\ninterpreter /q\n",
    "enabled\ninterpreter /q\noffset -1\nmagic 7f\n", "enabled\ninterpreter /q\nmagic 7f45\nmask ff\n",
    "enabled\ninterpreter /q\noffset 99999999\nflags: F\nmagic 7f\n",
  ])
  func `an entry that cannot be read runs nothing`(text: String) throws {
    #expect(obstacle(try emulation(["q": text]), "linux/arm64") != nil)
  }
}
