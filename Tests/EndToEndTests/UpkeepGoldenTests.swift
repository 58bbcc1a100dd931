import Testing

/// What the commands print that run no action.
@Suite struct `upkeep goldens` {
  private func project() throws -> Project {
    let project = try Project()
    try project.app(
      "code: {rule: files, srcs: [in.txt]}",
      "image: {rule: image, base: //base:image, layers: [{from: ':code', to: /app}]}",
      "unit: {rule: test, image: ':image', run: ['true']}", "root: {rule: rootfs, suite: bookworm}",
      "locked: {rule: rootfs, suite: bookworm, lock: root.lock}")
    try project.write("app/in.txt", "1")
    return project
  }

  @Test func `a query prints labels, JSON or a graph, and points at a mistake`() throws {
    let project = try project()
    try project.note("query", "rdeps(//..., //base:root)")
    try project.note("query", "--output", "dot", "deps(//app:image, 1)")
    try project.note("query", "--output", "json", "kind(rootfs, //app:root)")
    try project.note("query", "depts(//app:image)")
    try project.note("query", "//app:nothing")
    try project.expectGolden("query")
  }

  @Test func `check tells every mistake of a workspace, or prints one file`() throws {
    let project = try project()
    try project.note("check")
    try project.note("check", "--print", "json", "slipway.yaml")
    try project.note("check", "--print", "json", "nowhere/targets.yaml")
    try project.app("image: {rule: image, base: //base:imag}", "unit: {rule: tset, image: ':image', run: ['true']}")
    try project.note("check")
    try project.expectGolden("check")
  }

  @Test func `a cache can be looked at and emptied`() throws {
    let project = try project()
    try project.note("cache", "stat")
    try project.note("cache", "stat", "--json")
    try project.note("cache", "verify")
    try project.note("cache", "gc")
    try project.note("cache", "gc", "--max-size", "10gb")
    try project.note("cache", "gc", "--max-age", "30d")
    try project.note("cache", "gc", "--max-size", "1GiB", "--json")
    try project.note("cache", "dir")
    try project.expectGolden("cache")
  }

  @Test func `init makes a connector once, and its workspace is sound`() throws {
    let project = try project()
    try project.note("init", "source-weather")
    try project.note("init", "source-weather")
    try project.note("init", "destination-weather")
    try project.note("init", "--workspace")
    try project.write(
      "slipway.yaml",
      "slipway: 1\nname: demo\nimages: {docker.io/airbyte/python-connector-base: //base:image}\n")
    try project.note("check")
    try project.expectGolden("init")
  }

  @Test func `what cannot be locked is told before anything is fetched`() throws {
    let project = try project()
    try project.note("lock", "//app:image")
    try project.note("lock", "//app:root")
    try project.note("build", "//app:locked")
    try project.write("app/root.lock", "bash 5.2 nonsense\nbash\n")
    try project.note("build", "//app:locked")
    try project.note("completions", "tcsh")
    try project.expectGolden("lock")
  }
}
