import Testing

/// OCI images: the same bytes everywhere, and readable by others.
@Suite struct `images` {
  private func fill(_ project: Project) throws {
    try project.write("app/code/main.sh", "#!/bin/sh\necho \"$GREETING $*\"\n", mode: 0o755)
    try project.write("app/code/data/numbers", "123")
    try project.link("app/code/current", to: "data/numbers")
    try project.app(
      "code: {rule: files, srcs: ['code/**']}",
      "made: {rule: action, image: //base:image,",
      "  run: [sh, -c, 'mkdir -p d/empty; echo made >d/file'], outputs: {d: d}}",
      "image: {rule: image, base: //base:image, layers: [{from: ':code', to: /opt}, {from: ':made', to: /made}],",
      "  config: {entrypoint: [/opt/code/main.sh], env: {GREETING: hello}, labels: {a.b: c}, workdir: /opt}}")
  }

  /// `sha256sum` of every file of an exported layout, by path.
  private func digests(_ project: Project) throws -> String {
    let built = try project.build("//app:image")
    guard built.status == 0 else { throw Failure(built.error) }
    guard let layout = try project.outputs("//app:image")["image"] else { throw Failure("no layout") }
    let sums = try HostProcess(
      ["sh", "-c", "cd \"$0\" && find . -type f | LC_ALL=C sort | xargs sha256sum", layout], directory: project.root,
      environment: ["PATH": "/usr/bin:/bin"]
    ).finish()
    #expect(sums.status == 0)
    return sums.standardOutput
  }

  @Test func `the same inputs in another folder, with another cache, give the same layout`() throws {
    let first = try Project()
    let second = try Project("elsewhere/deep/er")
    try fill(first)
    try fill(second)
    let digests = try digests(first)
    #expect(digests.split(separator: "\n").count >= 5)
    #expect(try self.digests(second) == digests)
  }

  @Test func `a layer goes behind the symlinks of what is below it`() throws {
    let project = try Project()
    try project.write("app/more/new", "new")
    try project.app(
      "os: {rule: action, image: //base:image, outputs: {os: os}, run: [sh, -c, 'mkdir -p os/usr/lib/x os/usr/share/man;",
      "  cd os; echo 1 >usr/lib/ld.so; echo 2 >usr/lib/x/old; echo 3 >usr/share/man/page; ln -s usr/lib lib;",
      "  ln -s /usr/share/man usr/man; ln -s loop loop; ln -s made nowhere']}",
      "more: {rule: files, srcs: ['more/**']}",
      "tree: {rule: action, image: //base:image, outputs: {t: t},",
      "  run: [sh, -c, 'mkdir -p t/man t/lib t/x; echo 1 >t/man/a; echo 2 >t/lib/b; echo 3 >t/x/c; echo 4 >t/d']}",
      "one: {rule: image, base: //base:image, layers: [{from: ':os', to: /}]}",
      // Within one image as on a base.
      "two: {rule: image, base: //base:image, layers: [{from: ':os', to: /}, {from: ':more', to: /lib/x},",
      "  {from: ':tree', to: /usr}, {from: ':more', to: /nowhere}]}",
      "three: {rule: image, base: ':one', layers: [{from: ':more', to: /lib/x}, {from: ':tree', to: /usr},",
      "  {from: ':more', to: /nowhere}]}",
      "round: {rule: image, base: ':one', layers: [{from: ':more', to: /loop/x}]}")
    let built = try project.build("//app:three")
    #expect(built.status == 0, "\(built.error)")
    #expect(try project.build("//app:two").status == 0)
    for image in ["two", "three"] {
      let seen = try project.run(
        "run", "--network", "none", "//app:\(image)", "--", "sh", "-c",
        "for f in $(find / -xdev -type f | sort); do case $f in /bin*) ;; *) echo $f; esac; done;"
          + " readlink lib; readlink usr/man")
      #expect(
        seen.standardOutput == """
          /made/more/new
          /usr/d
          /usr/lib/b
          /usr/lib/ld.so
          /usr/lib/x/more/new
          /usr/lib/x/old
          /usr/share/man/a
          /usr/share/man/page
          /usr/x/c
          usr/lib
          /usr/share/man

          """, "\(image): \(seen.standardError)")
    }
    let round = try project.build("//app:round")
    #expect(round.status == 2 && round.error.contains("leads round in circles"), "\(round.error)")
  }

  @Test func `ports are exposed besides those of the base`() throws {
    let project = try Project()
    try project.app(
      "one: {rule: image, base: //base:image, config: {ports: [8080]}}",
      "two: {rule: image, base: ':one', config: {ports: ['53/udp', 8080]}}")
    #expect(try project.build("//app:two").status == 0)
    guard let layout = try project.outputs("//app:two")["image"] else { throw Failure("no layout") }
    let found = try HostProcess(
      ["sh", "-c", "cat \"$0\"/blobs/sha256/* | grep -a -o '\"ExposedPorts\":{[^}]*}[^}]*}}'", layout],
      directory: project.root, environment: ["PATH": "/usr/bin:/bin"]
    ).finish()
    #expect(found.standardOutput == "\"ExposedPorts\":{\"53/udp\":{},\"8080/tcp\":{}}\n")
  }

  @Test func `skopeo and umoci read an exported layout`() throws {
    let project = try Project()
    try fill(project)
    #expect(try project.build("//app:image").status == 0)
    guard let layout = try project.outputs("//app:image")["image"] else { throw Failure("no layout") }
    let environment = ["PATH": "/usr/bin:/bin:/usr/sbin", "HOME": "\(project.folder)/home"]
    let inspect = try HostProcess(
      ["skopeo", "inspect", "--config", "oci:\(layout):latest"], directory: project.root, environment: environment
    ).finish()
    #expect(inspect.status == 0, "\(inspect.standardError)")
    for text in ["GREETING=hello", "/opt/code/main.sh", "\"a.b\": \"c\"", "1980-01-01T00:00:00Z"] {
      #expect(inspect.standardOutput.contains(text), "\(text) in \(inspect.standardOutput)")
    }
    let bundle = "\(project.folder)/bundle"
    let unpack = try HostProcess(
      ["umoci", "unpack", "--rootless", "--image", "\(layout):latest", bundle], directory: project.root,
      environment: environment
    ).finish()
    #expect(unpack.status == 0, "\(unpack.standardError)")
    let listing = try HostProcess(
      ["sh", "-c", "cd \"$0\" && find opt made -printf '%p %y %m %l %Ts\\n' | LC_ALL=C sort", "\(bundle)/rootfs"],
      directory: project.root, environment: environment
    ).finish()
    #expect(
      listing.standardOutput == """
        made d 755  315532800
        made/empty d 755  315532800
        made/file f 644  315532800
        opt d 755  315532800
        opt/code d 755  315532800
        opt/code/current l 777 data/numbers 315532800
        opt/code/data d 755  315532800
        opt/code/data/numbers f 644  315532800
        opt/code/main.sh f 755  315532800

        """)
  }

  @Test func `an image runs with its entrypoint, environment and arguments`() throws {
    let project = try Project()
    try fill(project)
    let result = try project.run("run", "//app:image", "--network", "none", "--", "big", "world")
    #expect(result.standardOutput == "hello big world\n", "\(result.standardError)")
    #expect(result.status == 0)
  }

  @Test func `a program that an image runs gives its exit status and reads standard input`() throws {
    let project = try Project()
    try project.write("app/main.sh", "#!/bin/sh\nread line\necho got $line\nexit 9\n", mode: 0o755)
    try project.app(
      "code: {rule: files, srcs: [main.sh]}",
      "image: {rule: image, base: //base:image, layers: [{from: ':code', to: /opt}],",
      "  config: {entrypoint: [/opt/main.sh]}}"
    )
    let result = try project.run("run", "//app:image", "--network", "none", input: "some\n")
    #expect(result.standardOutput == "got some\n", "\(result.standardError)")
    #expect(result.status == 9)
  }
}
