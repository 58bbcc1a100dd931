import SystemPackage

/// All that a sandboxed process is, and nothing of the host besides.
package struct SandboxSpec: Sendable {
  /// A host path made visible inside.
  package struct Mount: Hashable, Sendable {
    package enum Access: String, Sendable {
      /// Read-only, and where it lies on the host cannot be told; a small file is a copy of what it was at the start.
      case input = "i"
      /// Read-only, and as it changes on the host.
      case readOnly = "r"
      case readWrite = "w"
    }

    package var source: String
    /// Absolute, inside the sandbox; missing folders on the way are made.
    package var target: String
    package var access: Access

    package init(source: String, target: String, access: Access = .input) {
      self.source = source
      self.target = target
      self.access = access
    }
  }

  package enum Network: String, Sendable { case none, host }

  /// Where what the process writes goes.
  package enum Scratch: Hashable, Sendable {
    /// In memory, up to `limits.scratch` bytes; only where `SandboxFeature.keepsOverlaysInMemory` can it hold anything.
    case memory
    /// In this empty host folder, on the file system of the store.
    case folder(String)
  }

  package struct Limits: Hashable, Sendable {
    package var processes = 4096
    /// Bytes of address space of each process; `nil` is unlimited.
    package var memory: Int? = nil
    /// Bytes that all processes and what they write in memory may take, where the host has a control group to divide;
    /// `nil` is unlimited.
    package var totalMemory: Int? = nil
    /// Bytes of the largest file that may be written.
    package var fileSize = 16 << 30
    /// Bytes of the scratch space in memory, of `/tmp` and of `/dev/shm`.
    package var scratch = 256 << 20
    /// Seconds of wall clock; then every process is killed.
    package var wallClock: Double = 600

    package init() {}
  }

  /// Host folders, topmost first: unpacked layers and trees of sources; never written.
  package var layers: [String] = []
  package var mounts: [Mount] = []
  package var arguments: [String] = []
  /// The whole environment, `NAME=value`, in order.
  package var environment: [String] = []
  package var workingDirectory = "/"
  package var hostname = "slipway"
  package var network: Network = .none
  package var scratch: Scratch = .memory
  package var limits = Limits()
  /// Absolute paths inside that are opened after the process has ended; see `SandboxResult.outputs`.
  package var outputs: [String] = []
  package var standardInput: FileDescriptor? = nil
  package var standardOutput: FileDescriptor? = nil
  package var standardError: FileDescriptor? = nil
  /// The standard streams are the caller's terminal: the process leads the foreground session (`slipway shell`).
  package var interactive = false

  package init() {}
}

package struct SandboxResult: Sendable {
  package enum Status: Hashable, Sendable {
    case exited(Int32)
    case signaled(Int32)
    case timedOut
    /// Ended on the caller's request, every process with it.
    case cancelled
  }

  package var status: Status
  /// One for each of `spec.outputs`: open for reading without following a final symlink (`O_PATH` for what is neither
  /// file nor folder), through the sandbox's own view; `nil` where nothing is there. The caller closes them.
  package var outputs: [FileDescriptor?]
  package var wallClock: Double
  /// Seconds of user and system time of all its processes.
  package var cpuTime: Double
  /// Bytes: the largest resident set of any of its processes.
  package var peakMemory: Int
  /// Whether the sandbox as a whole was held to `limits.processes` and `limits.totalMemory`.
  package var isLimitedAsWhole = false
  /// The kernel killed a process of it because `limits.totalMemory` was reached.
  package var ranOutOfMemory = false

  package init(
    status: Status, outputs: [FileDescriptor?], wallClock: Double, cpuTime: Double = 0, peakMemory: Int = 0
  ) {
    self.status = status
    self.outputs = outputs
    self.wallClock = wallClock
    self.cpuTime = cpuTime
    self.peakMemory = peakMemory
  }
}

/// Runs one process in a container.
package protocol Sandbox: Sendable {
  /// Begins what the first run would wait for; what fails here fails there, too.
  func prepare()

  /// Returns when every process of the sandbox is gone; cancelling the task kills them.
  ///
  /// Throws a `Diagnostic` of cause `.environment` where the host cannot offer the sandbox; never runs unsandboxed.
  func run(_ spec: SandboxSpec) async throws -> SandboxResult
}
