extension Project {
  /// All that an action can give, and all that a test can come to.
  ///
  /// - Parameter listsRoot: Whether one tells what the root has, which is more where an engine starts containers.
  func fillForEngines(listsRoot: Bool = true) throws {
    try write("app/in.txt", "hello\n")
    try write("app/run.sh", "#!/bin/sh\necho ran $1 >>\"$2\"\n", mode: 0o755)
    try write("app/sub/deep.txt", "deep\n")
    try link("app/link", to: "sub/deep.txt")
    let spec = #"{"type":"SPEC","spec":{"connectionSpecification":{}}}"#
    try write(
      "app/targets.yaml",
      """
      targets:
        made: {rule: action, image: //base:image, inputs: [in.txt, run.sh, "sub/*", link], env: {WORD: a word},
          run: [sh, -c, 'mkdir -p tree/empty "tree/é u"; cp in.txt "tree/é u/a"; ln -s "é u/a" tree/link; cat link >tree/d;
            ./run.sh "$WORD" tree/ran; cp run.sh tree/x; pwd >tree/pwd; echo made >file; echo said; echo warned >&2'],
          outputs: {tree: tree, file: file}}
        variables: {rule: action, image: //base:image, env: {ONE: "1"},
          run: [sh, -c, 'echo "$HOME $PATH $ONE" >out\(listsRoot ? "; ls / >>out" : "")'], outputs: {out: out}}
        joined: {rule: action, image: //base:image, inputs: [":made"],
          run: [sh, -c, 'cat tree/link file >all.txt; cat tree/ran >>all.txt'], outputs: {all: all.txt}}
        image: {rule: image, base: //base:image, layers: [{from: ":joined", to: /app}],
          config: {entrypoint: [sh, -c, 'echo ''\(spec)''']}}
        unit: {rule: test, image: ":image", run: [sh, -c, 'grep -q hello /app/all.txt']}
        spec: {rule: test, image: ":image", run: [slipway-protocol, spec]}
        fails: {rule: test, image: ":image", run: [sh, -c, 'echo no; exit 7']}
        none: {rule: test, image: ":image", run: [sh, -c, 'exit 5']}
        slow: {rule: test, image: ":image", timeout: 1s, run: [sh, -c, 'sleep 20']}
        lacks: {rule: action, image: //base:image, run: ["true"], outputs: {a: a}}

      """)
  }

  /// `//hide:hidden`, whose inputs lie where its image has something else: a file, a link to a folder, a folder.
  func fillWithHiding() throws {
    try write("hide/new.txt", "new\n")
    try write("hide/in/a", "a\n")
    try write(
      "hide/targets.yaml",
      """
      targets:
        old: {rule: action, image: //base:image, outputs: {t: t}, run: [sh, -c, 'mkdir -p t/d/e; echo old >t/d/e/f;
          echo old >t/d/g; ln -s d t/in; echo old >t/new.txt']}
        tree: {rule: action, image: //base:image, outputs: {d: d}, run: [sh, -c, 'mkdir d; echo tree >d/e']}
        image: {rule: image, base: //base:image, layers: [{from: ":old", to: /src/hide}]}
        hidden: {rule: action, image: ":image", inputs: [new.txt, "in/*", ":tree"], outputs: {list: list},
          run: [sh, -ec, 'cat new.txt in/a d/e; pwd; find . ! -name list | sort >list']}

      """)
  }

  static let wantedOfEngines = ["//app:image", "//app:variables", "//app:made", "//app:spec", "//app:unit"]

  /// Names, kinds, modes and bytes of what targets gave.
  func given() throws -> String {
    for label in ["//app:made", "//app:variables", "//app:joined", "//app:image"] { _ = try outputs(label) }
    let list = "find . -printf '%P %y %m %l\\n' | sort; find . -type f -print0 | sort -z | xargs -0 sha256sum"
    let end = try HostProcess(
      ["sh", "-c", list], directory: path(".slipway/out"), environment: ["PATH": "/usr/bin:/bin"], input: nil
    ).finish()
    return end.standardOutput
  }
}
