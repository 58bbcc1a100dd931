import Console
import Events
import Glibc
import SystemPackage
import Testing

/// The console against the kernel: real descriptors, a real pseudo-terminal, real time.
@Suite struct TerminalTests {
  /// Both ends of a pseudo-terminal. Swift's Glibc has no `openpty`, though glibc does.
  private func openTerminal() throws -> (master: FileDescriptor, terminal: FileDescriptor) {
    typealias OpenPty =
      @convention(c) (
        UnsafeMutablePointer<Int32>, UnsafeMutablePointer<Int32>, OpaquePointer?, OpaquePointer?,
        OpaquePointer?
      ) -> Int32
    let symbol = try #require(dlsym(nil, "openpty"), "openpty is not in this C library")
    var (master, terminal) = (Int32(-1), Int32(-1))
    try #require(unsafeBitCast(symbol, to: OpenPty.self)(&master, &terminal, nil, nil, nil) == 0)
    return (FileDescriptor(rawValue: master), FileDescriptor(rawValue: terminal))
  }

  /// What has been written so far; the other end may be open.
  private func drain(_ master: FileDescriptor) throws -> String {
    _ = fcntl(master.rawValue, F_SETFL, O_NONBLOCK)
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 65_536)
    while let count = try? buffer.withUnsafeMutableBytes({ try master.read(into: $0) }), count > 0 {
      bytes += buffer[..<count]
    }
    return String(decoding: bytes, as: UTF8.self)
  }

  @Test func `on a terminal the durations move by themselves, and the end leaves only what was said`() async throws {
    let (master, terminal) = try openTerminal()
    defer {
      try? master.close()
      try? terminal.close()
    }
    let output = DescriptorOutput(terminal)
    let console = ConsoleSink(ConsoleOptions(isTerminal: true, term: "xterm", noColor: nil), output: output)
    let start = ContinuousClock.now
    let elapsed: @Sendable () -> Duration = { ContinuousClock.now - start }
    let stream = EventStream(sinks: [console], elapsed: elapsed)
    stream.emit(Event(.buildStarted, targets: 2))
    stream.emit(Event(.actionStarted, label: "//a:b"))
    let ticking = Task { await console.run(elapsed: elapsed) }
    var screen = Screen(columns: 80, rows: 24)
    // Any later second will do, and looks are counted, not seconds: other tests may hold the processor for a minute.
    for _ in 0..<1200 where screen.lines.count < 2 || screen.lines[1] == "//a:b (0s)" {
      try await Task.sleep(for: .milliseconds(50))
      screen.feed(try drain(master), translates: false)
    }
    #expect(screen.lines.first == "[----------          ] 0/2 done, 1 running")
    let row = try #require(screen.lines.dropFirst().first)
    #expect(row.hasPrefix("//a:b (") && row.hasSuffix("s)") && row != "//a:b (0s)" && screen.lines.count == 2)
    stream.emit(Event(.actionFinished, label: "//a:b"))
    stream.emit(Event(.targetFinished, label: "//a:b", outcome: .failed, reason: "exit 1", text: Array("log".utf8)))
    stream.emit(Event(.buildFinished, exitCode: 1, durationMs: 1234))
    ticking.cancel()
    await ticking.value
    screen.feed(try drain(master), translates: false)
    #expect(
      screen.everything == [
        "FAIL //a:b (exit 1)", "log", "Built 0 of 2 targets in 1.2s: 1 failed, 1 not started",
      ])
    #expect(screen.unknown == [] && output.failure == nil)
  }

  @Test func `a reader that goes away ends the writing, and is remembered`() throws {
    signal(SIGPIPE, SIG_IGN)
    let pipe = try FileDescriptor.pipe()
    try pipe.readEnd.close()
    defer { try? pipe.writeEnd.close() }
    let output = DescriptorOutput(pipe.writeEnd)
    output.write(Array("a".utf8))
    output.write(Array("b".utf8))
    #expect(output.failure == .brokenPipe)
  }

  @Test func `a full disk is remembered`() throws {
    let full = try FileDescriptor.open("/dev/full", .writeOnly)
    defer { try? full.close() }
    let output = DescriptorOutput(full)
    EventLog(output).receive(Event(.buildStarted))
    #expect(output.failure == .noSpace)
  }

  @Test func `a non-blocking terminal that is slow gets all of it`() async throws {
    let pipe = try FileDescriptor.pipe()
    _ = fcntl(pipe.writeEnd.rawValue, F_SETFL, O_NONBLOCK)
    let sent = (0..<300_000).map { UInt8(truncatingIfNeeded: $0 % 251) }
    let reading = Task.detached {
      var bytes: [UInt8] = []
      var buffer = [UInt8](repeating: 0, count: 4096)
      while let count = try? buffer.withUnsafeMutableBytes({ try pipe.readEnd.read(into: $0) }), count > 0 {
        bytes += buffer[..<count]
      }
      return bytes
    }
    let output = DescriptorOutput(pipe.writeEnd)
    output.write(sent)
    try pipe.writeEnd.close()
    let received = await reading.value
    #expect(received == sent && output.failure == nil)
    try pipe.readEnd.close()
  }
}
