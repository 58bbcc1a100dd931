import Caching
import Diagnostics
import Digests
import Files
import Glibc
import Graph
import Planning
import SeededRandom
import SystemPackage
import Testing

@testable import Engine

/// What a change affects, held against brute force: both trees laid out as plain folders, each planned from its files,
/// with the bytes themselves as the name of a content.
@Suite struct AffectedTests {
  /// Planned keys of the files in a folder outside of git.
  ///
  /// - Parameter remembering: Whether what was read of files that did not change since is taken for what they hold.
  private func plan(_ folder: String, remembering: Bool = false) throws -> [Label: Fingerprint] {
    let workspace = try Workspace(root: FilePath(folder))
    try workspace.tree.refresh()
    var diagnostics = DiagnosticList()
    let plan = Plan(
      roots: workspace.tree.packages, source: workspace, settings: workspace.settings, diagnostics: &diagnostics)
    if diagnostics.hasErrors { throw diagnostics }
    let keys = PlannedKeys(
      plan, platform: Workspace.platform,
      content: { path in
        guard let mode = workspace.tree.mode(of: path) else { return nil }
        if remembering {
          return (try? workspace.tree.fingerprints(of: [path]))?.first.map {
            Fingerprint(of: "\(mode) \($0.fingerprint)")
          }
        }
        let bytes = (try? workspace.tree.read(path, limit: 1 << 30)) ?? []
        return Fingerprint(of: "\(mode) \(String(decoding: bytes, as: UTF8.self))")
      }, bundled: Workspace.bundled)
    if remembering { try workspace.tree.save() }
    return keys.entries.mapValues(\.key)
  }

  /// The files that git would commit now, laid out as plain ones; a submodule is a file with its commit's digits.
  private func layOut(_ history: GeneratedHistory, _ name: String) throws -> String {
    let folder = "\(history.top)/\(name)"
    try history.shell(
      """
      rm -rf '\(folder)' && mkdir '\(folder)' && cd '\(history.root)' &&
      git ls-files -z --cached --others --exclude-standard . |
        tar -c --no-recursion --ignore-failed-read --null -T - 2>/dev/null | tar -x -C '\(folder)' &&
      cd '\(folder)' && find . -type d -empty -delete && cd '\(history.root)' &&
      git ls-files -s | sed -n 's/^160000 [^\\t]*\\t//p' | while IFS= read -r f; do
        [ -d "$f" ] || continue
        mkdir -p "\(folder)/$(dirname "$f")" && git -C "$f" rev-parse HEAD >"\(folder)/$f"
      done
      """)
    return folder
  }

  private func expect(
    _ affected: Affected, _ before: [Label: Fingerprint], _ after: [Label: Fingerprint], _ story: String
  ) {
    let labels = after.filter { before[$0.key] != $0.value }.keys.sorted()
    let removed = before.keys.filter { after[$0] == nil }.sorted()
    #expect(affected.labels == labels, "\(story)")
    #expect(affected.removed == removed, "\(story)")
    for label in affected.labels {
      let chain = affected.chain(to: label)
      #expect(chain.labels.last == label && chain.cause != .dependency(label), "\(story)")
      #expect(affected.reasons[chain.labels[0]] != nil, "\(story)")
    }
  }

  @Test(arguments: [1, 2, 3, 4])
  func `what commits and edits affect is what brute force finds`(seed: UInt64) throws {
    let history = try GeneratedHistory(seed: seed)
    var random = SeededGenerator(seed: seed)
    var plans = [try plan(layOut(history, "plain-0"))]
    var affectedCount = 0
    func session() throws -> Session {
      try Session(directory: FilePath(history.root), cache: FilePath(history.top + "/cache"))
    }
    for round in 1...125 {
      var story = "seed \(seed), round \(round):"
      for _ in 0..<Int.random(in: 1...2, using: &random) { story += " " + (try history.change()) }
      // A rename or a removal may have left a label that leads nowhere: then both ways refuse.
      let now: [Label: Fingerprint]
      do { now = try plan(layOut(history, "plain-\(round)")) } catch is DiagnosticList {
        #expect(throws: DiagnosticList.self, "\(story)") { try session().affected(since: "HEAD") }
        try history.git("reset -q --hard && git clean -fdq")
        plans.append(plans[round - 1])
        try history.commit()
        continue
      }
      let before = plans[round - 1]
      let edited = try session().affected(since: "HEAD")
      expect(edited, before, now, story + " (edited)")
      affectedCount += edited.labels.count
      // Commits are read by way of the index, whatever it holds.
      if Bool.random(using: &random) { try history.git("add -A") }
      let back = Int.random(in: 0..<min(round, 10), using: &random)
      let older = try session().affected(since: "HEAD~\(back)", until: "HEAD", exactBase: true)
      expect(older, plans[round - 1 - back], before, story + " (not committed)")
      try history.commit()
      let committed = try session().affected(since: "HEAD~1", until: "HEAD", exactBase: true)
      expect(committed, before, now, story + " (committed)")
      #expect(try session().affected(since: "HEAD").labels == [], "\(story)")
      // What is known by outlines alone is the same graph.
      let whole = try session().graph().plan.graph
      let everything = try Query.parse("//...", relativeTo: .root).evaluate(in: whole) { _ in nil }
      #expect(try session().query("//...", output: .dot) == QueryOutput.dot.render(everything, in: whole), "\(story)")
      plans.append(now)
      let distance = Int.random(in: 1...min(round, 30), using: &random)
      let far = try session().affected(since: "HEAD~\(distance)", until: "HEAD")
      expect(far, plans[round - distance], now, story + " (\(distance) commits)")
      try history.shell("rm -rf 'plain-\(round - 1)'")
    }
    #expect(affectedCount > 200)
  }

  /// Of commit after commit of 60 generated connectors; or of the repository that `SLIPWAY_HISTORY` names, its last
  /// `SLIPWAY_COMMITS`.
  @Test func `each commit of a history of connectors affects what brute force finds`() throws {
    let top = try GeneratedHistory.folder()
    defer { try? GeneratedHistory.shell("rm -rf '\(top)'", in: "/") }
    let given = getenv("SLIPWAY_HISTORY").map { String(cString: $0) }
    if given == nil {
      let benchmarks = FilePath(#filePath).removingLastComponent().removingLastComponent().appending("Benchmarks")
      try GeneratedHistory.shell(
        "python3 -B -c 'import history; history.generate(\"\(top)/made\", 60, 24)'", in: benchmarks.string)
    }
    let root = "\(top)/clone"
    let last = getenv("SLIPWAY_COMMITS").flatMap { Int(String(cString: $0)) } ?? 1000
    try GeneratedHistory.shell(
      """
      git clone -q --shared '\(given ?? top + "/made")' clone &&
      git -C clone rev-list --first-parent --reverse HEAD | tail -n \(last + 1) >commits
      """, in: top)
    let commits = String(decoding: try #require(try Disk.contents(of: top + "/commits", limit: 1 << 20)), as: UTF8.self)
      .split(separator: "\n").map(String.init)
    var before: [Label: Fingerprint]?
    var count = 0
    for (number, commit) in commits.enumerated() {
      try GeneratedHistory.shell("git checkout -q --detach \(commit)", in: root)
      let now = try plan(root, remembering: true)
      if let before {
        let session = try Session(directory: FilePath(root), cache: FilePath(top + "/cache"))
        let affected = try session.affected(since: commits[number - 1], until: commit, exactBase: true)
        expect(affected, before, now, "commit \(commit)")
        count += affected.labels.count
      }
      before = now
    }
    #expect(commits.count > 20 && count > commits.count)
    print("\(commits.count - 1) commits, \(count) targets affected")
  }
}
