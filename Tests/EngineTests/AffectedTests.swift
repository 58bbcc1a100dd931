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
  private func plan(_ folder: String) throws -> [Label: Fingerprint] {
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
        let bytes = (try? workspace.tree.read(path, limit: 1 << 30)) ?? []
        return Fingerprint(of: "\(mode) \(String(decoding: bytes, as: UTF8.self))")
      }, bundled: Workspace.bundled)
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
}
