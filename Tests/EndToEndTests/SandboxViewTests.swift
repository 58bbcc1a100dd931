import Testing

/// What an action sees and what is kept of what it made.
@Suite struct `an action's view` {
  @Test func `it sees exactly its declared inputs`() throws {
    let project = try Project()
    try project.write("app/a/one", "1")
    try project.write("app/a/two", "2")
    try project.write("app/secret", "not declared")
    try project.write("other/x", "not declared")
    try project.app(
      "dep: {rule: action, image: //base:image, run: [sh, -c, 'mkdir t; echo x >t/f'], outputs: {t: t}}",
      "look: {rule: action, image: //base:image, inputs: [a/one, ':dep'],",
      "  run: [sh, -c, 'find /src | sort >/tmp/l; mv /tmp/l list; ls / | sort >>list'], outputs: {list: list}}")
    #expect(try project.build("//app:look").status == 0)
    #expect(
      try project.output("//app:look") == """
        /src
        /src/app
        /src/app/a
        /src/app/a/one
        /src/app/t
        /src/app/t/f
        bin
        dev
        proc
        src
        tmp

        """)
  }

  @Test func `its environment is fixed, whatever the host's is`() throws {
    let project = try Project()
    try project.app(
      "env: {rule: action, image: //base:image, env: {OWN: 'a b', EMPTY: ''},",
      "  run: [sh, -c, 'env | sort >out; id -u >>out; id -g >>out; pwd >>out'],",
      "  outputs: {out: out}}")
    let result = try project.run(
      "build", "//app:env", environment: ["LEAK": "1", "LC_ALL": "de_DE", "TZ": "Asia/Tokyo"])
    #expect(result.status == 0, "\(result.standardError)")
    #expect(
      try project.output("//app:env") == """
        EMPTY=
        HOME=/tmp
        LC_ALL=C.UTF-8
        OWN=a b
        PATH=/bin
        PWD=/src/app
        SHLVL=1
        SOURCE_DATE_EPOCH=315532800
        TMPDIR=/tmp
        TZ=UTC
        1000
        1000
        /src/app

        """)
  }

  @Test func `it has the loopback interface and no other`() throws {
    let project = try Project()
    try project.app(
      "net: {rule: action, image: //base:image,",
      "  run: [sh, -c, 'ls /sys/class/net >out 2>/dev/null; ip -o link | cut -d: -f2 >out'],",
      "  outputs: {out: out}}")
    try project.link("base/bin/cut", to: "busybox")
    #expect(try project.build("//app:net").status == 0)
    #expect(try project.output("//app:net") == " lo\n")
  }

  @Test func `its inputs cannot be changed for others`() throws {
    let project = try Project()
    try project.write("app/in", "original\n")
    try project.app(
      "spoil: {rule: action, image: //base:image, inputs: [in],",
      "  run: [sh, -c, 'rm in /bin/wc; echo spoilt >in; cp in out'],",
      "  outputs: {out: out}}",
      "use: {rule: action, image: //base:image, inputs: [in, ':spoil'],",
      "  run: [sh, -c, 'cat in out >both; ls /bin/wc >>both'],",
      "  outputs: {both: both}}")
    #expect(try project.build("//app:use").status == 0)
    #expect(try project.output("//app:use") == "original\nspoilt\n/bin/wc\n")
    #expect(try project.read("app/in") == "original\n")
  }

  @Test func `folders, modes, symlinks and empty folders are kept, times are constant`() throws {
    let project = try Project()
    try project.app(
      "make: {rule: action, image: //base:image, run: [sh, -c, 'mkdir -p d/e/empty; echo x >d/x; chmod 700 d/x;",
      "  echo y >d/y; chmod 600 d/y; ln d/y d/hard; ln -s ../x d/e/up; ln -s /nowhere d/e/absolute'], outputs: {d: d}}",
      "look: {rule: action, image: //base:image, inputs: [':make'],",
      "  run: [sh, -c, 'find d | sort | while read f; do stat -c \"%n %A %Y\" $f; readlink $f; done >list; true'],",
      "  outputs: {list: list}}")
    let built = try project.build("//app:look")
    #expect(built.status == 0, "\(built.error)")
    #expect(
      try project.output("//app:look") == """
        d drwxr-xr-x 315532800
        d/e drwxr-xr-x 315532800
        d/e/absolute lrwxrwxrwx 315532800
        /nowhere
        d/e/empty drwxr-xr-x 315532800
        d/e/up lrwxrwxrwx 315532800
        ../x
        d/hard -r--r--r-- 315532800
        d/x -r-xr-xr-x 315532800
        d/y -r--r--r-- 315532800

        """)
    guard let folder = try project.outputs("//app:make")["d"] else { throw Failure("no output") }
    let exported = try HostProcess(
      ["sh", "-c", "cd \"$0\" && find . -printf '%p %y %m %l\\n' | LC_ALL=C sort", folder], directory: project.root,
      environment: ["PATH": "/usr/bin:/bin"]
    ).finish()
    #expect(
      exported.standardOutput == """
        . d 755 \("")
        ./e d 755 \("")
        ./e/absolute l 777 /nowhere
        ./e/empty d 755 \("")
        ./e/up l 777 ../x
        ./hard f 644 \("")
        ./x f 755 \("")
        ./y f 644 \("")

        """)
  }

  @Test func `standard input is a file or nothing`() throws {
    let project = try Project()
    try project.write("app/text", "from a file\n")
    try project.app(
      "with: {rule: action, image: //base:image, inputs: [text], stdin: text,",
      "  run: [sh, -c, 'cat >out'], outputs: {out: out}}",
      "without: {rule: action, image: //base:image, run: [sh, -c, 'cat >out'], outputs: {out: out}}")
    let result = try project.run("build", "//app:all", input: "the caller's")
    #expect(result.status == 0, "\(result.standardError)")
    #expect(try project.output("//app:with") == "from a file\n")
    #expect(try project.output("//app:without") == "")
  }

  @Test func `inputs can be placed elsewhere, and named in the command`() throws {
    let project = try Project()
    try project.write("app/tests/deep/a", "A")
    try project.app(
      "dep: {rule: action, image: //base:image, run: [sh, -c, 'mkdir t; echo x >t/f'], outputs: {tree: t}}",
      "look: {rule: action, image: //base:image, cwd: /work,",
      "  inputs: {/opt/tests: ['tests/**'], /opt/dep: [':dep#tree']},",
      "  run: [sh, -c, 'find /opt -type f | sort >\"$0\"; echo \"$1\" >>\"$0\"; pwd >>\"$0\"',",
      "  '${out:list}', '${in:tree}'],",
      "  outputs: {list: list}}")
    let built = try project.build("//app:look")
    #expect(built.status == 0, "\(built.error)")
    #expect(try project.output("//app:look") == "/opt/dep/f\n/opt/tests/deep/a\n/opt/dep\n/work\n")
  }

  @Test func `memory, processes, scratch space and time are limited`() throws {
    let project = try Project()
    try project.app(
      "memory: {rule: test, image: //base:image, memory: 32MiB,",
      "  run: [sh, -c, 'dd if=/dev/zero of=/dev/null bs=512M count=1']}",
      "processes: {rule: test, image: //base:image, processes: 20,",
      "  run: [sh, -c, 'i=0; while [ $i -lt 60 ]; do sleep 5 & i=$((i+1)); done; wait']}",
      "scratch: {rule: test, image: //base:image, scratch: 1MiB,",
      "  run: [sh, -c, 'dd if=/dev/zero of=big bs=1M count=4']}",
      "time: {rule: test, image: //base:image, timeout: 1s, run: [sleep, '30']}",
      "fine: {rule: test, image: //base:image, memory: 64MiB, processes: 20, scratch: 2MiB, timeout: 20s,",
      "  run: [sh, -c, 'dd if=/dev/zero of=small bs=512K count=1']}")
    let result = try project.build("//app:all", command: "test")
    #expect(result.status == 3, "\(result.error)")
    #expect(result.executed.contains("//app:fine"))
    // An older kernel keeps what is written on the disk, without a limit.
    let isInMemory = try project.run("doctor").standardOutput.contains("ok\tscratch space in memory")
    #expect(
      result.failed == ["//app:memory", "//app:processes"] + (isInMemory ? ["//app:scratch"] : []) + ["//app:time"])
    #expect(result.events.finished["//app:time"]?["verdict"] == "timed-out")
    let log = try project.run("logs", "//app:time").standardOutput
    #expect(log == "slipway: stopped after 1 s (timeout)\n")
  }

  @Test func `memory that no single process takes is limited, too, where the host can`() throws {
    let project = try Project()
    try project.app(
      "many: {rule: test, image: //base:image, memory: 60MiB, scratch: 1MiB, timeout: 3s,",
      "  run: [sh, -c, 'for i in 1 2 3 4; do dd if=/dev/zero of=/dev/null bs=30M count=100000 & done; wait']}")
    #expect(try project.build("//app:many", command: "test").failed == ["//app:many"])
    let log = try project.run("logs", "//app:many").standardOutput
    let doctor = try project.run("doctor").standardOutput
    let isPossible = doctor.contains("ok\tlimits on a sandbox as a whole")
    let line = "slipway: out of memory: all processes together may take 61.0 MiB (memory)\n"
    #expect(log.contains(line) == isPossible, "\(log)")
  }
}
