import SeededRandom
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

  /// Random packages in a chain of dependencies, edited at random and built a few at a time: whatever was built, in
  /// whatever order, each output is what its sources and its dependencies' sources say.
  @Test(arguments: [1, 2, 3] as [UInt64])
  func `after any edits and builds an output is what the sources say`(seed: UInt64) throws {
    var random = SeededGenerator(seed: seed)
    let project = try Project()
    var world = World()
    for step in 0..<40 {
      try world.edit(project, step, &random)
      let wanted = Array(Set((0..<Int.random(in: 1...2, using: &random)).map { _ in world.pick(&random) })).sorted()
      for pattern in random.chance(15) ? ["//..."] : wanted.map({ "//p\($0):out" }) {
        let built = try project.build(pattern)
        #expect(built.status == 0, "seed \(seed), step \(step): \(built.error)")
      }
      for package in wanted {
        #expect(try project.run("outputs", "//p\(package):out").status == 0)
        let text = try project.read(".slipway/out/p\(package)/out/out.txt")
        #expect(text == world.output(package), "seed \(seed), step \(step), //p\(package):out")
      }
    }
  }

  /// What the packages hold: each reads packages with a lower number only.
  private struct World {
    private var seeds: [String] = []
    private var dependencies: [[Int]] = []

    func pick(_ random: inout SeededGenerator) -> Int { Int.random(in: seeds.indices, using: &random) }

    func output(_ package: Int) -> String {
      seeds[package] + dependencies[package].map { "(\(output($0)))" }.joined()
    }

    /// A new package, another seed, the seed of before, or other dependencies.
    mutating func edit(_ project: Project, _ step: Int, _ random: inout SeededGenerator) throws {
      let change = Int.random(in: 0..<10, using: &random)
      if seeds.count < 4 || (change < 2 && seeds.count < 10) {
        seeds.append("new\(step)")
        dependencies.append(someDependencies(of: seeds.count - 1, &random))
        try write(seeds.count - 1, project)
      } else if change < 7 {
        let package = pick(&random)
        seeds[package] = random.chance(30) ? "again" : "seed\(step)"
        try project.write("p\(package)/seed", seeds[package])
      } else {
        let package = pick(&random)
        dependencies[package] = someDependencies(of: package, &random)
        try write(package, project)
      }
    }

    private func someDependencies(of package: Int, _ random: inout SeededGenerator) -> [Int] {
      (0..<package).filter { _ in random.chance(35) }
    }

    private func write(_ package: Int, _ project: Project) throws {
      let names = dependencies[package]
      let inputs = names.map { ", '//p\($0):out'" }.joined()
      let parts = names.map { "printf \"(\"; cat ../p\($0)/out.txt; printf \")\"" }
      let command = (["cat seed"] + parts).joined(separator: "; ")
      try project.write("p\(package)/seed", seeds[package])
      try project.write(
        "p\(package)/targets.yaml",
        "targets:\n  out: {rule: action, image: //base:image, inputs: [seed\(inputs)],"
          + " run: [sh, -c, '{ \(command); } >out.txt'], outputs: {out: out.txt}}\n")
    }
  }
}
