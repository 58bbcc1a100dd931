import Digests

/// What became of one execution of an action: all that a hit needs, and what `explain` and `logs` show.
package struct ActionRecord: Hashable, Sendable {
  package enum Verdict: UInt8, Sendable, CaseIterable {
    /// The only one that is ever a hit.
    case passed = 0
    case failed = 1
    /// A test command that ran no test.
    case noTests = 2
    case timedOut = 3
    /// Passed, but only when tried again.
    case flaky = 4
    /// Ended by a signal that Slipway did not send; `exitCode` is 128 and the signal's number.
    case signaled = 5
  }

  package struct Output: Hashable, Sendable {
    package var name: String
    /// As the action declares it, relative to its working directory; empty for what has no path, such as an image.
    package var path: String
    package var artifact: Artifact

    package init(name: String, path: String, artifact: Artifact) {
      self.name = name
      self.path = path
      self.artifact = artifact
    }

    /// `nil` for files.
    package var image: ImageArtifact? {
      if case .image(let image) = artifact { return image }
      return nil
    }
  }

  package var key: Fingerprint
  package var label: String
  package var rule: String
  package var verdict: Verdict
  package var exitCode: Int32
  /// Milliseconds since 1970.
  package var startedAt: Int64
  /// Milliseconds since 1970.
  package var completedAt: Int64
  /// Milliseconds, by a clock that does not jump.
  package var duration: Int64
  /// Milliseconds of user and system time.
  package var cpuTime: Int64 = 0
  /// Bytes.
  package var peakMemory: Int64 = 0
  /// Which try gave this result, from 1.
  package var attempt: Int64 = 1
  package var log: FileArtifact?
  package var junit: FileArtifact?
  package var outputs: [Output]
  /// The explanation as it is stored: thousands of fields, which few readers want.
  var encodedExplanation: [UInt8] = []

  package init(
    key: Fingerprint, label: String, rule: String, verdict: Verdict, exitCode: Int32 = 0, startedAt: Int64,
    completedAt: Int64, duration: Int64, log: FileArtifact? = nil, junit: FileArtifact? = nil,
    outputs: [Output] = [], explanation: [KeyField] = []
  ) {
    self.key = key
    self.label = label
    self.rule = rule
    self.verdict = verdict
    self.exitCode = exitCode
    self.startedAt = startedAt
    self.completedAt = completedAt
    self.duration = duration
    self.log = log
    self.junit = junit
    self.outputs = outputs
    self.explanation = explanation
  }

  /// Every field that decided the key, in order; decoded on each call.
  package var explanation: [KeyField] {
    get { RecordReader.explanation(encodedExplanation) ?? [] }
    set {
      var writer = RecordWriter()
      writer.explanation(newValue)
      encodedExplanation = writer.bytes
    }
  }

  package var isSuccess: Bool { verdict == .passed && exitCode == 0 }

  /// Whether the result is at most so many milliseconds old; one from the future is not.
  package func isFresh(at now: Int64, within age: Int64) -> Bool {
    completedAt <= now && now - completedAt <= age
  }

  /// Everything in the store that the record names.
  package var artifacts: [Artifact] { [log, junit].compactMap { $0.map(Artifact.file) } + outputs.map(\.artifact) }

  package func output(named name: String) -> Artifact? { outputs.first { $0.name == name }?.artifact }
}
