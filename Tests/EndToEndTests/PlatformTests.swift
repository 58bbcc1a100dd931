import Glibc
import TestServers
import Testing

/// Images for several platforms: one index, built from one declaration.
@Suite struct `platforms` {
  private static let both = ["linux/amd64", "linux/arm64"]

  /// The platform of the machine that the tests run on, and the other one.
  private static let host: String = {
    var name = utsname()
    uname(&name)
    let machine = withUnsafeBytes(of: &name.machine) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    return machine == "aarch64" ? "linux/arm64" : "linux/amd64"
  }()
  private static let foreign = host == "linux/amd64" ? "linux/arm64" : "linux/amd64"

  /// A workspace whose `//base:image` has a program for each platform that writes the platform's name to `out`.
  private func project(_ name: String = "work") throws -> Project {
    let project = try Project(name)
    try fill(project)
    return project
  }

  private func fill(_ project: Project) throws {
    for platform in Self.both {
      try project.write("native/\(platform)/make", try program(platform, project), mode: 0o755)
      try project.write("native/\(platform)/targets.yaml", "targets: {make: {rule: files, srcs: [make]}}\n")
    }
    try project.write(
      "base/targets.yaml",
      """
      targets:
        root: {rule: files, srcs: ["bin/**"]}
        image:
          rule: image
          platforms: [linux/arm64, linux/amd64]
          layers: [{from: ":root", to: /}, {from: "//native/${platform}:make", to: /bin}]
          config: {env: {PATH: /bin}}
      default: image

      """)
  }

  /// A program without a library, by the compiler that these tests were built with.
  private func program(_ platform: String, _ project: Project) throws -> [UInt8] {
    let source = """
      static long call(long n, long a, const void *b, long c, long d) {
      #if defined(__aarch64__)
        register long x8 __asm__("x8") = n, x0 __asm__("x0") = a, x1 __asm__("x1") = (long)b;
        register long x2 __asm__("x2") = c, x3 __asm__("x3") = d;
        __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
        return x0;
      #else
        long result;
        register long r10 __asm__("r10") = d;
        __asm__ volatile("syscall" : "=a"(result) : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10)
          : "rcx", "r11", "memory");
        return result;
      #endif
      }
      #if defined(__aarch64__)
      enum { OPENAT = 56, WRITE = 64, EXIT = 93 };
      #else
      enum { OPENAT = 257, WRITE = 1, EXIT = 60 };
      #endif
      void _start(void) {
        long file = call(OPENAT, -100, "out", 0101, 0644);
        call(EXIT, call(WRITE, file, "\(platform)\\n", \(platform.utf8.count + 1), 0) < 0, 0, 0, 0);
        __builtin_unreachable();
      }

      """
    let triple = platform == "linux/arm64" ? "aarch64-linux-gnu" : "x86_64-linux-gnu"
    let path = "\(project.folder)/program"
    let compiled = try HostProcess(
      [
        "clang", "--target=\(triple)", "-O1", "-nostdlib", "-static", "-ffreestanding", "-fuse-ld=lld", "-x", "c",
        "-o", path, "-",
      ], directory: project.folder,
      environment: ["PATH": getenv("PATH").map { String(cString: $0) } ?? "/usr/bin:/bin"], input: source
    ).finish()
    guard compiled.status == 0 else { throw Failure("no program for \(platform): \(compiled.standardError)") }
    return try readBytes(path)
  }

  private func app(_ project: Project, base: String = "//base:image", more: String...) throws {
    try project.write("app/text", "data\n")
    try project.write(
      "app/targets.yaml",
      """
      targets:
        text: {rule: files, srcs: [text]}
        data: {rule: image, base: "\(base)", layers: [{from: ":text", to: /data}], config: {labels: {a: b}}}
        made: {rule: action, image: "\(base)", run: [/bin/make], outputs: {out: out}, memory: 16MiB}
        image: {rule: image, base: "\(base)", layers: [{from: ":text", to: /data}, {from: ":made", to: /made}]}

      """ + more.map { "  \($0)\n" }.joined())
  }

  /// Runs what follows in namespaces of its own, in which programs for the other platform run; the host's stay as they
  /// are.
  private func emulate(_ project: Project, flags: String = "F") throws {
    let emulator = Self.foreign == "linux/arm64" ? "aarch64" : "x86_64"
    let interpreter = "/usr/bin/qemu-\(emulator)-static"
    guard access(interpreter, X_OK) == 0 else {
      throw Failure("`\(interpreter)` is missing: apt-get install qemu-user-static")
    }
    let machine = Self.foreign == "linux/arm64" ? #"\xb7"# : #"\x3e"#
    let magic = #"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00"# + machine + #"\x00"#
    let mask = #"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"#
    let script = """
      mount -t binfmt_misc none /proc/sys/fs/binfmt_misc && \
      printf %s ':qemu-\(emulator):M::\(magic):\(mask):\(interpreter):\(flags)' >/proc/sys/fs/binfmt_misc/register && \
      exec unshare -U --map-user=1000 --map-group=1000 "$@"
      """
    project.prefix = ["unshare", "-Urm", "sh", "-c", script, "sh"]
  }

  private func skopeo(_ arguments: String..., project: Project) throws -> String {
    let result = try HostProcess(
      ["skopeo"] + arguments, directory: project.folder,
      environment: ["PATH": "/usr/bin:/bin:/usr/sbin", "HOME": "\(project.folder)/home"]
    ).finish()
    guard result.status == 0 else { throw Failure("skopeo \(arguments): \(result.standardError)") }
    return result.standardOutput
  }

  private func pushed(_ label: String, to reference: String, _ project: Project) throws -> String {
    let result = try project.run("image", "push", label, reference)
    guard result.status == 0, let digest = result.standardOutput.split(separator: "@").last else {
      throw Failure("image push \(label): \(result.standardError)")
    }
    return String(digest.prefix { $0 != "\n" })
  }

  // MARK: Data

  @Test func `an image of only data is for all platforms of its base, and its layer is one blob`() throws {
    let server = try RegistryServer()
    let project = try project()
    let base = try pushed("//base:image", to: "\(server.host)/demo/base:1", project)
    #expect(
      try skopeo(
        "inspect", "--tls-verify=false", "--format", "{{.Digest}}", "docker://\(server.host)/demo/base:1",
        project: project) == base + "\n")
    try app(project, base: "\(server.host)/demo/base@\(base)")
    project.cache = "\(project.folder)/empty"
    let built = try project.build("//app:data")
    #expect(built.status == 0, "\(built.error)")
    #expect(built.executed.contains("//app:data") && built.executed.contains("//app:data@\(Self.foreign)"))

    let uploads = server.uploads().count
    let digest = try pushed("//app:data", to: "\(server.host)/demo/data:1", project)
    let raw = try skopeo(
      "inspect", "--raw", "--tls-verify=false", "docker://\(server.host)/demo/data:1", project: project)
    #expect(raw.contains("application/vnd.oci.image.index.v1+json"))
    #expect(raw.contains(#""architecture":"amd64""#) && raw.contains(#""architecture":"arm64""#))
    // Two configurations, a layer of programs each, and the shell and the data of both.
    #expect(server.uploads().count - uploads == 6)
    var layers: [Set<Substring>] = []
    for platform in ["amd64", "arm64"] {
      let text = try skopeo(
        "inspect", "--tls-verify=false", "--override-arch", platform, "--format", "{{.Architecture}} {{.Layers}}",
        "docker://\(server.host)/demo/data:1", project: project)
      #expect(text.hasPrefix(platform))
      layers.append(Set(text.matches(of: /sha256:[0-9a-f]{64}/).map(\.0)))
    }
    // The base's shell, and the data.
    #expect(layers[0].count == 3 && layers[0].intersection(layers[1]).count == 2)

    // What others make of it.
    _ = try skopeo(
      "copy", "-q", "--all", "--src-tls-verify=false", "docker://\(server.host)/demo/data:1", "oci:copied:1",
      project: project)
    #expect(try readText("\(project.folder)/copied/index.json").contains(digest))
    let layout = try #require(try project.outputs("//app:data")["image"])
    #expect(try readText("\(project.root)/\(layout)/index.json").contains(digest))
    for platform in ["amd64", "arm64"] {
      _ = try skopeo(
        "copy", "-q", "--override-arch", platform, "oci:\(project.root)/\(layout):latest", "oci:one-\(platform):1",
        project: project)
      let unpacked = try HostProcess(
        ["umoci", "unpack", "--rootless", "--image", "one-\(platform):1", "unpacked-\(platform)"],
        directory: project.folder, environment: ["PATH": "/usr/bin:/bin", "HOME": "\(project.folder)/home"]
      ).finish()
      #expect(unpacked.status == 0, "\(unpacked.standardError)")
      let root = "\(project.folder)/unpacked-\(platform)/rootfs"
      #expect(try readText(root + "/data/text") == "data\n")
      #expect(try readBytes(root + "/bin/make") == readBytes(project.path("native/linux/\(platform)/make")))
    }
    let inspected = try project.run("image", "inspect", "//app:data").standardOutput
    #expect(inspected.contains(#""index":{"digest":"\#(digest)""#))
    let tar = "\(project.folder)/data.tar"
    #expect(try project.run("image", "save", "//app:data", "--output", tar, "--tag", "demo/data:1").status == 0)
    #expect(
      try skopeo("inspect", "--raw", "oci-archive:\(tar):1", project: project) == raw)
    #expect(
      try skopeo("inspect", "--format", "{{.Architecture}}", "docker-archive:\(tar)", project: project)
        == Self.host.split(separator: "/")[1] + "\n")
  }

  @Test func `the same inputs in another folder give the same index`() throws {
    var digests: Set<String> = []
    for name in ["work", "elsewhere/deep/er"] {
      let project = try project(name)
      try app(project)
      #expect(try project.build("//app:data").status == 0)
      digests.insert(try project.run("image", "inspect", "//app:data").standardOutput)
    }
    #expect(digests.count == 1)
    #expect(digests.first?.contains(#""platform":"linux/arm64""#) == true)
  }

  @Test func `an image for one platform is a plain manifest`() throws {
    let project = try project()
    try app(project)
    let narrowed = try project.run("image", "inspect", "//app:data", "--platform", Self.foreign).standardOutput
    #expect(narrowed.hasPrefix(#"{"config""#) && narrowed.contains(#""platform":"\#(Self.foreign)""#))
    try project.write(
      "app/targets.yaml",
      try project.read("app/targets.yaml").replacing(
        "data: {rule: image,", with: "data: {rule: image, platforms: [\(Self.foreign)],"))
    #expect(try project.run("image", "inspect", "//app:data").standardOutput == narrowed)
  }

  @Test func `what was built is remembered for all platforms, and only then`() throws {
    let project = try project()
    try app(project, more: "test: {rule: test, image: ':data', run: [test, -s, /data/text]}")
    // Only what is older than the clock's grain is remembered as unchanged.
    usleep(2_500_000)
    #expect(try project.build("//app:test").status == 0)
    let whole = try project.build("//app:data")
    #expect(whole.executed.contains("//app:data@\(Self.foreign)"))
    #expect(try project.build("//app:data").executed.isEmpty)
    #expect(try project.build("//app:data", options: ["--platform", Self.host]).hits.contains("//app:data"))
    try project.write("native/\(Self.foreign)/make", "changed")
    let changed = try project.build("//app:data")
    #expect(changed.executed.contains("//app:data@\(Self.foreign)"))
    #expect(!changed.executed.contains("//app:data"))
  }

  // MARK: Published

  @Test func `a version is published for all platforms, and compared platform by platform`() throws {
    let site = try PublishProject()
    let project = site.project
    try fill(project)
    try site.connector("source-a", "1.0.0", text: "one")
    let path = "connectors/source-a/targets.yaml"
    let whole = try project.read(path)
    #expect(try site.publish().status == 0)
    let raw = try site.run(
      "skopeo", "inspect", "--raw", "--tls-verify=false", "docker://\(site.server.host)/airbyte/source-a:1.0.0")
    #expect(raw.contains("application/vnd.oci.image.index.v1+json"))
    #expect(site.tags("airbyte/source-a") == ["1.0.0", "latest"])
    let receipt = try project.read(".slipway/publish/receipts/airbyte/source-a/1.0.0.json")
    #expect(receipt.contains(#""linux/amd64":"sha256:"#) && receipt.contains(#""linux/arm64":"sha256:"#))

    let again = try site.publish("--json")
    #expect(again.standardOutput.contains(#""state":"identical""#), "\(again.standardOutput)")
    // Left out on purpose: what is there is compared, and nothing is pushed.
    let narrowed = try site.publish("--json", "--platform", Self.foreign)
    #expect(narrowed.status == 0 && narrowed.standardOutput.contains(#""state":"identical""#), "\(narrowed)")
    #expect(site.link("airbyte/source-a", "1.0.0")?.isEmpty == false)
    // Lost: an error that names it.
    try project.write(path, whole.replacing("rule: image,", with: "rule: image, platforms: [\(Self.host)],"))
    let lost = try site.publish()
    #expect(lost.status == 1)
    #expect(lost.standardError.contains("it is published for \(Self.foreign) too"), "\(lost.standardError)")
    // Never published under this name: only what was asked for goes out.
    try project.write(path, whole)
    try site.connector("source-a", "1.1.0", text: "two")
    #expect(try site.publish("--platform", Self.host).status == 0)
    let more = try site.publish()
    #expect(more.status == 1)
    #expect(more.standardError.contains("\(Self.foreign): the image is sha256:"), "\(more.standardError)")
    let none = try site.publish("--platform", "linux/s390x")
    #expect(none.status != 0)
    #expect(none.standardError.contains("it is for linux/amd64, linux/arm64"), "\(none.standardError)")
  }

  // MARK: Platforms that are not there

  @Test func `a platform that no image is for is an error that lists those that are`() throws {
    let project = try project()
    try app(project, more: "alone: {rule: image, layers: [{from: ':text', to: /data}]}")
    let unknown = try project.build("//app:data", options: ["--platform", "linux/riscv64"])
    #expect(unknown.status == 2)
    #expect(unknown.error.contains("//app:data is not for linux/riscv64"))
    #expect(unknown.error.contains("it is for linux/amd64, linux/arm64"))
    let alone = try project.run("image", "inspect", "//app:alone", "--platform", Self.foreign)
    #expect(alone.standardError.contains("it is for \(Self.host)"))
    let both = try project.build("//app:data", options: ["--platform", Self.host, "--platform", "linux/s390x"])
    #expect(both.status == 2 && both.error.contains("none of the targets is for linux/s390x"))
    #expect(try project.build("//app:data", options: ["--platform", "arm64"]).status == 2)
    try project.write(
      "app/targets.yaml",
      try project.read("app/targets.yaml").replacing(
        "data: {rule: image,", with: "data: {rule: image, platforms: [linux/s390x],"))
    let declared = try project.build("//app:data")
    #expect(declared.status == 2)
    #expect(declared.error.contains("//app:data is to be for `linux/s390x`, and its base //base:image is not"))
    #expect(declared.error.contains("app/targets.yaml:3:"))
  }

  @Test func `an action for a platform that this host does not run is an error, not an omission`() throws {
    let project = try project()
    try app(project)
    let built = try project.build("//app:image")
    #expect(built.status == 36)
    #expect(built.failed == ["//app:made@\(Self.foreign)"])
    #expect(built.skipped == ["//app:image@\(Self.foreign)"])
    for text in [
      "error: //app:made cannot run for \(Self.foreign) on this host, which is \(Self.host)",
      "hint: or leave the platform out: --platform \(Self.host)",
    ] { #expect(built.error.contains(text), "\(text) in \(built.error)") }
    #expect(try project.build("//app:image", options: ["--platform", Self.host]).status == 0)
    #expect(try project.run("image", "inspect", "//app:image").status == 36)
    #expect(try project.run("outputs", "//app:image").standardError.contains("for \(Self.foreign)"))
    try emulate(project, flags: "")
    let unfixed = try project.build("//app:image")
    #expect(unfixed.status == 36 && unfixed.error.contains("lacks the flag F"), "\(unfixed.error)")
  }

  @Test func `slipway.yaml narrows images, and a command line takes what it wants all the same`() throws {
    let project = try project()
    try app(project, more: "alone: {rule: image, layers: [{from: ':text', to: /data}]}")
    try project.write("slipway.yaml", "slipway: 1\nname: demo\nplatforms: [\(Self.foreign), linux/riscv64]\n")
    #expect(try project.build("//app:data").executed == ["//app:data@\(Self.foreign)", "//base:image@\(Self.foreign)"])
    #expect(
      try project.build("//app:data", options: ["--platform", Self.host]).executed == ["//app:data", "//base:image"])
    // What is for none of them stays what it is.
    #expect(try project.build("//app:alone").executed == ["//app:alone"])
  }

  // MARK: Emulated

  @Test func `an action runs once for each platform, under the kernel's emulator`() throws {
    let project = try project()
    try app(project)
    try emulate(project)
    let doctor = try project.run("doctor").standardOutput
    #expect(doctor.contains("ok\tprograms for \(Self.foreign)"), "\(doctor)")
    let built = try project.build("//app:image")
    #expect(built.status == 0, "\(built.error)")
    #expect(built.executed.contains("//app:made") && built.executed.contains("//app:made@\(Self.foreign)"))
    project.prefix = []
    // What ran once need not run again, so no emulator is needed.
    #expect(try project.build("//app:image").status == 0)
    for platform in Self.both {
      #expect(try project.run("outputs", "//app:made", "--platform", platform).status == 0)
      #expect(try project.read(".slipway/out/app/made/out") == platform + "\n")
    }
    let explained = try project.run("explain", "//app:image").standardOutput
    #expect(explained.contains("linux/amd64: hit (") && explained.contains("linux/arm64: hit ("))
    #expect(try project.run("explain", "//app:made", "--platform", Self.foreign).standardOutput.hasPrefix("hit ("))
    #expect(try project.run("logs", "//app:made", "--platform", Self.foreign).status == 0)
    for command in ["logs", "shell"] {
      let unknown = try project.run(command, "//app:made", "--platform", "arm64")
      #expect(unknown.status == 2)
      #expect(unknown.standardError.contains("`arm64` is not a platform such as linux/amd64"))
    }
    let shell = try project.run("shell", "//app:made", "--platform", Self.foreign, "--", "/bin/make")
    #expect(shell.status == 36 && shell.standardError.contains("cannot run for \(Self.foreign)"))
    try emulate(project)
    #expect(try project.run("shell", "//app:made", "--platform", Self.foreign, "--", "/bin/make").status == 0)
  }

  private func readText(_ path: String) throws -> String { String(decoding: try readBytes(path), as: UTF8.self) }
}
