import Digests
import Glibc
import SystemPackage
import Testing

@testable import Files

/// Figures, not a test: `SLIPWAY_BENCH_TREE=FOLDER swift test -c release -Xswiftc -enable-testing --filter FilesBenchmark`.
@Suite(.serialized, .enabled(if: getenv("SLIPWAY_BENCH_TREE") != nil))
struct FilesBenchmark {
  /// Wall clock, and processor time of all threads, which other load disturbs less.
  private static func median(_ name: String, runs: Int = 21, _ body: () throws -> Void) rethrows {
    var times: [Duration] = []
    var work: [Duration] = []
    for _ in 0..<runs {
      let start = processorTime()
      times.append(try ContinuousClock().measure(body))
      work.append(processorTime() - start)
    }
    times.sort()
    work.sort()
    print(
      name.padding(to: 44), "median \(text(times[runs / 2])) ms, least \(text(times[0])) ms,",
      "processor \(text(work[runs / 2])) ms")
  }

  private static func processorTime() -> Duration {
    var time = timespec()
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
    return .seconds(time.tv_sec) + .nanoseconds(time.tv_nsec)
  }

  private static func text(_ time: Duration) -> String {
    let microseconds = time.components.attoseconds / 1_000_000_000_000 + time.components.seconds * 1_000_000
    let fraction = String(microseconds % 1_000)
    return "\(microseconds / 1_000).\(String(repeating: "0", count: 3 - fraction.count))\(fraction)"
  }

  @Test func `the index at work`() throws {
    let root = FilePath(try #require(getenv("SLIPWAY_BENCH_TREE").map { String(cString: $0) }))
    let state = root.appending(".slipway").appending("index")
    let open = { try WorkingTree(root: root, state: state) }
    try Self.median("no index: list and stat", runs: 5) {
      try WorkingTree(root: root, state: root.appending(".slipway").appending("none")).refresh()
    }
    let first = try open()
    try first.refresh()
    let all = first.packages.flatMap { package in first.files(in: package).map { package.appending($0.path) } }
    print("\(all.count) files in \(first.packages.count) packages")
    let whole = try ContinuousClock().measure { _ = try first.fingerprints(of: all) }
    print("hash all", Self.text(whole), "ms")
    usleep(50_000)
    try first.refresh()
    _ = try first.fingerprints(of: all)
    try first.save()

    try Self.median("load") { _ = try open() }
    try Self.median("load, refresh all") { try open().refresh() }
    try Self.median("load, refresh all, 600 stamps") {
      let tree = try open()
      try tree.refresh()
      for package in tree.packages { _ = try #require(tree.stamp(of: package)) }
    }
    let one = try #require(first.packages.dropFirst(300).first)
    try Self.median("load, refresh one package") { try open().refresh(.packages([one])) }
    let loaded = try open()
    try Self.median("refresh all") { try loaded.refresh() }
    try Self.median("refresh one package") { try loaded.refresh(.packages([one])) }
    Self.median("600 stamps") { for package in loaded.packages { _ = loaded.stamp(of: package) } }
    try Self.median("fingerprints of all, known") { _ = try loaded.fingerprints(of: all) }
    let new = root.appending(one.string).appending("benchmark-new")
    try Self.median("one new file: refresh all, hash, save") {
      unlink(new.string)
      let file = try FileDescriptor.open(new, .writeOnly, options: [.create], permissions: [.ownerReadWrite])
      try file.closeAfter { _ = try file.writeAll(Array("x".utf8)) }
      try loaded.refresh()
      _ = try loaded.fingerprints(of: [one.appending("benchmark-new")])
      try loaded.save()
    }
    unlink(new.string)
  }
}

extension String {
  fileprivate func padding(to width: Int) -> String {
    self + String(repeating: " ", count: Swift.max(0, width - count))
  }
}
