import Glibc
import SystemPackage
import TestServers
import Testing

@testable import Engine

@Suite struct ContainerLaunchTests {
  private let launch = ContainerLaunch(
    arguments: ["sh", "-c", "echo it's $HOME"], workingDirectory: "/work dir",
    inputs: ["/work dir/in.txt", "/opt/a/b"],
    outputs: ["tree/x", "file"])

  @Test func `inputs come to their places, and outputs to where they are looked for`() {
    #expect(
      launch.script == """
        umask 022
        root=$PWD
        fail() { rm -f "$root/slipway/begun"; exit 125; }
        for folder in '/opt' '/opt/a' '/work dir'; do
          [ -d "$folder" ] && [ ! -L "$folder" ] || rm -f -- "$folder" || fail
        done
        rm -rf -- '/work dir/in.txt' '/opt/a/b' || fail
        cp -RP slipway/inputs/. / || fail
        mkdir -p -- '/work dir' && cd -- '/work dir' || fail
        : >"$root/slipway/begun" || fail
        (unset PWD OLDPWD SHLVL _; exec 'sh' '-c' 'echo it'\\''s $HOME')
        code=$?
        if [ -e 'tree/x' ] || [ -L 'tree/x' ]; then
          mkdir -p -- "$root"/'slipway/outputs/tree' || fail
          cp -RP -- 'tree/x' "$root"/'slipway/outputs/tree/x' || fail
        fi
        if [ -e 'file' ] || [ -L 'file' ]; then
          mkdir -p -- "$root"/'slipway/outputs' || fail
          cp -RP -- 'file' "$root"/'slipway/outputs/file' || fail
        fi
        exit $code

        """)
    #expect(launch.outputPaths == ["slipway/begun", "slipway/outputs/file", "slipway/outputs/tree/x"])
  }

  @Test func `a command without inputs is a command all the same`() {
    let launch = ContainerLaunch(arguments: ["true"], workingDirectory: "/", inputs: [], outputs: [])
    #expect(!launch.script.contains("cp -RP"))
    #expect(launch.script.hasSuffix("exec 'true')\ncode=$?\nexit $code\n"))
  }

  @Test func `thousands of inputs are no argument list too long`() {
    let inputs = (0..<2001).map { "/in/\($0)" }
    let launch = ContainerLaunch(arguments: ["true"], workingDirectory: "/", inputs: inputs, outputs: [])
    let lines = launch.script.split(separator: "\n")
    #expect(lines.count { $0.hasPrefix("rm -rf") } == 5)
    #expect(lines.count { $0.hasPrefix("for folder in '/in';") } == 1)
    #expect(lines.allSatisfy { $0.utf8.count < 16 << 10 })
  }

  /// Run where the root is a folder, with the shells that images have.
  @Test(arguments: [["sh"], ["bash"], ["busybox", "sh"]])
  func `the script does in a container what it says`(shell: [String]) throws {
    var template = Array("/tmp/slipway-launch-XXXXXX".utf8CString)
    try #require(mkdtemp(&template) != nil)
    let folder = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    defer { _ = try? ServerProcess.run(["rm", "-rf", folder], folder: "/tmp") }
    let launch = ContainerLaunch(
      arguments: ["sh", "-c", "cat in.txt; cat l/deep; mkdir t; echo out >t/o; ln -s o t/l; echo err >&2; exit 7"],
      workingDirectory: "/tmp/w", inputs: ["/tmp/w/in.txt", "/tmp/w/l"], outputs: ["t", "none"])
    try ServerProcess.run(["mkdir", "-p", folder + "/slipway/inputs/tmp/w/l"], folder: "/tmp")
    try ServerProcess.write("read\n", to: folder + "/slipway/inputs/tmp/w/in.txt")
    try ServerProcess.write("deep\n", to: folder + "/slipway/inputs/tmp/w/l/deep")
    try ServerProcess.write(launch.script, to: folder + "/slipway/launch")
    // A link where the folder is to be, which leads out of it.
    let root =
      "bwrap --ro-bind /usr /usr --symlink usr/bin /bin --symlink usr/lib /lib --symlink usr/lib64 /lib64 --dev /dev "
      + "--tmpfs /tmp --dir /tmp/other --symlink other /tmp/w --bind \(folder) /root --chdir /root "
      + "--unshare-user --uid 0 \(shell.joined(separator: " ")) slipway/launch"
    let said = try ServerProcess.run(["sh", "-c", "\(root) 2>&1; echo code $?"], folder: FilePath(folder))
    #expect(said == "read\ndeep\nerr\ncode 7\n")
    #expect(ServerProcess.text(folder + "/slipway/outputs/t/l") == "out\n")
    #expect(access(folder + "/slipway/begun", F_OK) == 0)
    #expect(access(folder + "/slipway/outputs/none", F_OK) != 0)
  }
}
