import Testing

/// What was built alone, or beside other things, never makes what depends on it look up to date.
@Suite struct `Up to date` {
  private static let library =
    "lib: {rule: action, image: //base:image, inputs: [seed], run: [cp, seed, lib.txt], outputs: {lib: lib.txt}}"
  private static let middle =
    "middle: {rule: action, image: //base:image, inputs: ['//lib:lib'], run: [sh, -c, 'cp ../lib/lib.txt middle.txt'],"
    + " outputs: {middle: middle.txt}}"
  private static let user =
    "user: {rule: action, image: //base:image, inputs: ['//middle:middle'],"
    + " run: [sh, -c, 'cp ../middle/middle.txt user.txt'], outputs: {user: user.txt}}"

  private func project() throws -> Project {
    let project = try Project()
    try project.write("lib/seed", "one")
    try project.write("lib/targets.yaml", "targets:\n  \(Self.library)\n")
    try project.write("middle/targets.yaml", "targets:\n  \(Self.middle)\n")
    try project.write("user/targets.yaml", "targets:\n  \(Self.user)\n")
    return project
  }

  @Test(arguments: [["//lib:lib"], ["//middle:middle"], ["//lib:lib", "//middle:middle"]])
  func `a dependency that was built alone is seen by what depends on it`(alone: [String]) throws {
    let project = try project()
    #expect(try project.build("//...").status == 0)
    #expect(try project.build("//user:user").executed == [])
    try project.write("lib/seed", "two")
    for label in alone { #expect(try project.build(label).status == 0) }
    let after = try project.build("//user:user")
    #expect(after.status == 0 && after.executed.contains("//user:user"), "\(after.error)")
    #expect(try project.build("//...").executed == [])
  }

  @Test func `a build of one target forgets nothing of the others`() throws {
    let project = try project()
    try project.write("apart/seed", "one")
    try project.write("apart/targets.yaml", "targets:\n  \(Self.library)\n")
    #expect(try project.build("//...").status == 0)
    try project.write("apart/seed", "two")
    #expect(try project.build("//apart:lib").executed == ["//apart:lib"])
    #expect(try project.build("//...").executed == [])
    try project.write("lib/seed", "two")
    #expect(try project.build("//apart:lib").executed == [])
    #expect(try project.build("//...").executed == ["//lib:lib", "//middle:middle", "//user:user"])
  }

  @Test func `a changed manifest may name what the last build did not look at`() throws {
    let project = try project()
    #expect(try project.build("//lib:lib").status == 0)
    try project.write("fresh/seed", "fresh")
    try project.write("fresh/targets.yaml", "targets:\n  \(Self.library)\n")
    try project.write(
      "lib/targets.yaml",
      "targets:\n  lib: {rule: action, image: //base:image, inputs: ['//fresh:lib'],"
        + " run: [sh, -c, 'cp ../fresh/lib.txt lib.txt'], outputs: {lib: lib.txt}}\n")
    let after = try project.build("//lib:lib")
    #expect(after.status == 0 && after.executed == ["//fresh:lib", "//lib:lib"], "\(after.error)")
  }
}
