import Caching
import Diagnostics
import Digests
import Distribution
import Glibc
import SystemPackage
import Testing

@testable import Publishing

@Suite struct JournalTests {
  private let folder: Folder
  private let key: PublishJournal.Key

  init() throws {
    folder = try Folder()
    key = PublishJournal.Key(try Reference("localhost:5000/airbyte/a:1.0.0"), manifest: Digest(of: "m"))
  }

  private func open() throws -> PublishJournal { try PublishJournal(path: FilePath(folder.path + "/journal")) }

  private var bytes: [UInt8] { (try? Disk.contents(of: folder.path + "/journal", limit: 1 << 20)) ?? [] }

  @Test func `what was noted is known to the next process`() throws {
    do {
      let journal = try open()
      try journal.note(key, .begun)
      try journal.note(key, .flipped, detail: "file:///m")
      try journal.noteBlob(Digest(of: "b"), to: key.reference)
    }
    let journal = try open()
    #expect(journal.step(key) == .flipped)
    #expect(journal.detail(key, .flipped) == "file:///m")
    #expect(journal.unfinished == [key])
    #expect(journal.repositories(with: Digest(of: "b"), at: "localhost:5000") == ["airbyte/a"])
    #expect(journal.repositories(with: Digest(of: "b"), at: "localhost:5001") == [])
    try journal.note(key, .done)
    #expect(try open().unfinished == [])
  }

  @Test func `a line that was cut at any byte is no line, and the next one is whole`() throws {
    try open().note(key, .begun)
    let first = bytes.count
    try open().note(key, .tagged)
    let whole = bytes
    for cut in first..<whole.count {
      let path = folder.path + "/journal"
      let file = try Disk.open(path, O_WRONLY | O_CREAT | O_TRUNC)
      try whole[..<cut].withUnsafeBytes { try Disk.write(file, $0, path: path) }
      try file.close()
      let journal = try open()
      // Without its newline alone the line is whole.
      #expect(journal.step(key) == (cut == whole.count - 1 ? .tagged : .begun))
      try journal.note(key, .latest)
      #expect(try open().step(key) == .latest)
    }
  }

  @Test func `a flipped byte costs its line only`() throws {
    do {
      let journal = try open()
      try journal.note(key, .begun)
      try journal.noteBlob(Digest(of: "b"), to: key.reference)
    }
    let whole = bytes
    let end = try #require(whole.firstIndex(of: UInt8(ascii: "\n")))
    for position in 0..<end {
      var damaged = whole
      damaged[position] ^= 1
      let path = folder.path + "/journal"
      let file = try Disk.open(path, O_WRONLY | O_CREAT | O_TRUNC)
      try damaged.withUnsafeBytes { try Disk.write(file, $0, path: path) }
      try file.close()
      let journal = try open()
      #expect(journal.step(key) == nil, "byte \(position)")
      #expect(journal.repositories(with: Digest(of: "b"), at: "localhost:5000") == ["airbyte/a"], "byte \(position)")
    }
  }

  @Test func `a blob is looked for where it was sent last`() throws {
    let journal = try open()
    for name in ["a", "b", "c", "a"] {
      try journal.noteBlob(Digest(of: "x"), to: try Reference("localhost:5000/\(name)"))
    }
    #expect(journal.repositories(with: Digest(of: "x"), at: "localhost:5000") == ["a", "c", "b"])
    let size = bytes.count
    try journal.noteBlob(Digest(of: "x"), to: try Reference("localhost:5000/a"))
    #expect(bytes.count == size, "what is known is not written again")
  }

  @Test func `a long journal is written anew without what is over, and says the same`() throws {
    do {
      let journal = try open()
      for number in 0..<50 {
        let key = PublishJournal.Key(try Reference("localhost:5000/r\(number):1.0.0"), manifest: Digest(of: "m"))
        for step in PublishJournal.Step.allCases where number % 2 == 0 || step < .tagged { try journal.note(key, step) }
      }
      try journal.noteBlob(Digest(of: "x"), to: try Reference("localhost:5000/a"))
      for store in ["file:///a", "file:///b"] { try journal.noteListing(store, isDone: false) }
      try journal.noteListing("file:///a", isDone: true)
    }
    let before = bytes.count
    let unfinished = try open().unfinished
    let journal = try PublishJournal(path: FilePath(folder.path + "/journal"), compactFrom: 100)
    #expect(journal.unfinished == unfinished)
    #expect(journal.unfinished.count == 25)
    #expect(journal.repositories(with: Digest(of: "x"), at: "localhost:5000") == ["a"])
    #expect(bytes.count < before / 2)
    #expect(try ["file:///a", "file:///b"].map { try open().isListing($0) } == [false, true])
    #expect(try open().unfinished == unfinished)
  }

  @Test func `a full disk is an error that names the journal, and tears nothing`() async throws {
    let path = folder.path + "/full"
    #expect(symlink("/dev/full", path) == 0)
    let journal = try PublishJournal(path: FilePath(path))
    let error = #expect(throws: Diagnostic.self) { try journal.note(key, .begun) }
    #expect(error?.message == "cannot write `\(path)`: no space left on device")
    #expect(error?.cause == .environment)
    #expect(journal.step(key) == nil)
  }

  @Test func `only one publish of a workspace holds its lock, and the next one waits`() async throws {
    let path = FilePath(folder.path + "/lock")
    var first: PublishLock? = try await PublishLock.take(path) { _ in }
    let second = Task {
      var waitedFor: Int?
      let lock = try await PublishLock.take(path) { waitedFor = $0 }
      withExtendedLifetime(lock) {}
      return waitedFor
    }
    try await Task.sleep(for: .milliseconds(120))
    withExtendedLifetime(first) {}
    first = nil
    #expect(try await second.value == Int(getpid()))
  }
}

/// A folder that is gone with its value.
final class Folder: Sendable {
  let path: String

  init() throws {
    var template = Array("/tmp/slipway-publishing-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw Diagnostic.error("no folder for a test", cause: .environment) }
    path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  deinit { try? Disk.removeTree(path) }
}
