import Caching
import Diagnostics
import Digests
import Distribution
import Events
import Graph
import Manifests
import Planning
import Publishing
import SystemPackage

/// One run of `slipway publish`: each step takes the subjects that the step before left to it.
package struct PublishRun {
  /// Runs a build with a stream for its events.
  package typealias Console = (_ build: (EventStream) async throws -> BuildOutcome) async throws -> BuildOutcome

  let session: Session
  let selection: PublishSelection
  let options: PublishOptions
  private(set) var subjects: [PublishSubject]
  private var jobs: [Label: PublishJob] = [:]
  private var codes: Set<Int32> = []
  private var metadata: PublishMetadata?
  /// Published versions whose specification the metadata store lacks: their images must tell it again.
  private var unspecified: Set<Int> = []
  private var scanner: SBOMScanner?
  private var materials: PublishMaterials?
  /// Manifests of base images that targets gave, by target and platform.
  private var bases: [Label: [String: Digest]] = [:]
  /// Of what belongs to no connector.
  private var errors: [Diagnostic] = []

  init(session: Session, selection: PublishSelection, options: PublishOptions, subjects: [PublishSubject]) {
    self.session = session
    self.selection = selection
    self.options = options
    self.subjects = subjects
  }

  var report: PublishReport {
    let sorted = subjects.sorted { $0.label < $1.label }
    var report = PublishReport(entries: sorted.map(\.entry), isDryRun: options.isDryRun)
    report.codes = codes
    report.errors = errors
    return report
  }

  /// Whether there is anything that is not skipped.
  var hasWork: Bool { !open.isEmpty }

  private var open: [Int] { subjects.indices.filter { [.unchanged, .planned].contains(subjects[$0].entry.result) } }

  private var hasAbsent: Bool {
    open.contains { if case .absent? = subjects[$0].entry.state { true } else { false } }
  }

  // MARK: Before anything is asked

  mutating func refuseFloating() {
    for index in open {
      guard let image = subjects[index].target.image?.label else { continue }
      let floating = selection.floating(below: image)
      guard !floating.isEmpty else { continue }
      subjects[index].entry.floating = floating
      if options.allowsFloating || options.isRepair { continue }
      subjects[index].entry.settle(
        .refused(
          "\(floating.joined(separator: ", ")) below it has no lock, so the image cannot be made again",
          hint: "pin its packages: slipway lock \(floating[0]); or publish it all the same: --allow-floating"),
        at: subjects[index].versionSpan)
    }
  }

  mutating func buildImages(_ console: Console) async throws {
    let images = open.compactMap { subjects[$0].target.image?.label }
    guard !images.isEmpty else { return }
    var spread = try await session.spread(
      Array(Set(images)).sorted(), in: selection.plan, chosen: options.platforms
    ) { $0.isImage || $0 == .pull }
    let failures = spread.failures
    spread.failures = [:]
    let outcome = try await walk(spread, console)
    if outcome.exitCode == 8 { throw CancellationError() }
    for index in open {
      let subject = subjects[index]
      let outputs = subject.target.image.flatMap { outcome.outputs[$0.label] } ?? []
      let artifacts = outputs.compactMap(\.image)
      if let base = subject.target.image.flatMap({ selection.plan.targets[$0.label]?.image?.label }) {
        for label in [base] + artifacts.map({ base.on($0.platform) }) {
          for image in (outcome.outputs[label] ?? []).compactMap(\.image) {
            bases[base, default: [:]][image.platform] = image.manifest
          }
        }
      }
      do {
        if let image = subject.target.image?.label, spread.narrowed.contains(image) {
          subjects[index].entry.release?.isNarrowed = true
        }
        if let failure = subject.target.image.flatMap({ failures[$0.label] }) { throw failure }
        guard let release = subjects[index].entry.release, !artifacts.isEmpty else {
          let image = subject.target.image?.label.description ?? "its image"
          throw Diagnostic.error("\(image) was not built", cause: .build)
        }
        var job = try PublishJob(release, artifacts: artifacts, in: session.store)
        job.floating = subject.entry.floating
        jobs[subject.label] = job
        subjects[index].entry.images = job.images
        subjects[index].entry.manifest = job.top.descriptor.digest
      } catch {
        subjects[index].entry.fail([error.diagnostic(about: subject.label)])
      }
    }
    if outcome.exitCode != 0 { codes.insert(outcome.exitCode) }
  }

  private func walk(_ spread: PlatformSpread, _ console: Console) async throws -> BuildOutcome {
    var build = options.build
    build.keepGoing = true
    build.download = .requested
    return try await console { try await session.walk(spread, build, $0) }
  }

  // MARK: What is published

  mutating func lookUp() async throws {
    let questions = open.compactMap { index -> PublishSurvey.Question? in
      guard let release = subjects[index].entry.release else { return nil }
      return PublishSurvey.Question(release: release, manifest: subjects[index].entry.manifest)
    }
    let answers = try await PublishSurvey(session.registries.client()).answers(questions)
    for (index, answer) in zip(open, answers) {
      guard let release = subjects[index].entry.release else { continue }
      switch answer {
      case .failure(let error): subjects[index].entry.fail([error.diagnostic(about: subjects[index].label)])
      case .success(let published):
        subjects[index].entry.published = published
        let state =
          if let job = jobs[subjects[index].label] {
            release.state(built: job.images, manifest: job.top.descriptor.digest, published: published)
          } else {
            release.stateWithoutImage(published)
          }
        subjects[index].entry.settle(state, at: subjects[index].versionSpan)
      }
    }
  }

  /// Looks at the commit before the tests: who works on while they run does not change what was built.
  mutating func readMaterials() {
    guard hasAbsent else { return }
    do { materials = try PublishMaterials(session.workspace, selection.plan) } catch {
      var problem = (error as? Diagnostic) ?? .error("cannot tell the workspace's commit: \(error)", cause: .internal)
      problem.severity = .warning
      options.warn(problem)
    }
  }

  private func materials(of image: Label, _ job: PublishJob) -> [String: [Provenance.Dependency]] {
    let base = selection.plan.targets[image]?.image?.label
    var found: [String: [Provenance.Dependency]] = [:]
    for built in job.images {
      found[built.platform] = materials?.dependencies(of: image, base: base.flatMap { bases[$0]?[built.platform] })
    }
    return found
  }

  // MARK: Tests

  /// Looks for versions that have their tags and not their metadata, as after a kill between the two.
  mutating func findUnspecified() async throws {
    let published = open.filter { if case .identical? = subjects[$0].entry.state { true } else { false } }
    guard !published.isEmpty, let store = try session.metadataStore(options) else { return }
    do {
      let lacking = try await MetadataUpload(to: store).lackingSpecification(
        published.compactMap { subjects[$0].entry.release })
      unspecified = Set(published.filter { lacking.contains(subjects[$0].entry.repository) })
    } catch {
      await store.close()
      throw error
    }
    await store.close()
  }

  /// Tests what would be pushed; what is published already was tested then, and tells its specification at most.
  mutating func test(_ console: Console) async throws {
    var wanted: [Label: [Int]] = [:]
    for index in open {
      let subject = subjects[index]
      if case .absent? = subject.entry.state {
        for test in selection.tests(of: subject) { wanted[test, default: []].append(index) }
      } else if unspecified.contains(index), let spec = selection.spec(of: subject) {
        wanted[spec, default: []].append(index)
      }
    }
    guard !wanted.isEmpty else { return }
    let outcome = try await walk(PlatformSpread(plan: selection.plan, labels: wanted.keys.sorted()), console)
    if outcome.exitCode == 8 { throw CancellationError() }
    for (test, indices) in wanted where !outcome.succeeded.contains(test) {
      for index in indices {
        subjects[index].entry.fail(
          [
            .error(
              "\(unspecified.contains(index) ? "the metadata of " : "")\(subjects[index].label) is not published, since "
                + "\(test) failed", cause: .build)
          ],
          isConsequence: true)
      }
      codes.insert(outcome.exitCode == 0 ? 1 : outcome.exitCode)
    }
  }

  // MARK: Pushing

  mutating func push() async throws {
    try await withPublisher { run, publisher, receipts in
      var pending = run.open
      if run.hasAbsent { try await run.metadata?.requireWritable() }
      while !pending.isEmpty {
        try Task.checkCancellation()
        // Those whose variants are out, or will not be; variants that name each other do not wait.
        let waiting = Set(pending.map { run.subjects[$0].entry.repository })
        var ready = pending.filter { index in
          (run.subjects[index].entry.release?.after ?? []).allSatisfy { !waiting.contains($0) }
        }
        if ready.isEmpty { ready = pending }
        pending.removeAll { ready.contains($0) }
        var work: [PublishWork] = []
        for index in ready where !run.block(index) { if let item = run.work(index) { work.append(item) } }
        try await run.carryOut(work, publisher, receipts)
      }
    }
  }

  /// Compares what is published with itself and with what is remembered here, and restores what is missing.
  mutating func repair() async throws {
    try await lookUp()
    try await withPublisher { run, publisher, receipts in
      var work: [PublishWork] = []
      for index in run.open { if let item = run.work(index) { work.append(item) } }
      try await run.carryOut(work, publisher, receipts)
    }
  }

  /// Runs what writes the journal, alone in this workspace.
  private mutating func withPublisher(
    _ body: (inout PublishRun, Publisher, _ receipts: FilePath) async throws -> Void
  ) async throws {
    let folder = try session.publishFolder()
    let progress = options.progress
    let lock = try await PublishLock.take(folder.appending("lock")) { process in
      progress("waiting for another publish of this workspace" + (process.map { " (process \($0))" } ?? ""))
    }
    defer { withExtendedLifetime(lock) {} }
    let journal = try PublishJournal(path: folder.appending("journal"))
    let publisher = Publisher(session.registries.client(), journal, session.store)
    if !options.isRepair { scanner = SBOMScanner(session.store) }
    if let store = try session.metadataStore(options) {
      metadata = try await PublishMetadata(store, journal, isRepair: options.isRepair)
    }
    do {
      try await body(&self, publisher, folder.appending("receipts"))
      try await finishMetadata()
    } catch {
      await metadata?.close()
      throw error
    }
    await metadata?.close()
  }

  private mutating func finishMetadata() async throws {
    guard let metadata else { return }
    do {
      let published = subjects.filter { $0.entry.published?.version != nil || $0.entry.result == .published }
      let problems = try await metadata.finish(
        repairing: options.isRepair ? published.map(\.entry.repository).sorted() : nil)
      for problem in problems { options.warn(problem) }
    } catch let error as Diagnostic {
      errors.append(error)
    }
  }

  /// `nil` when it fails here: before anything of it is pushed.
  private mutating func work(_ index: Int) -> PublishWork? {
    let subject = subjects[index]
    guard let release = subject.entry.release else { return nil }
    var work = PublishWork(
      index: index, release: release, job: jobs[subject.label], state: subject.entry.state,
      published: subject.entry.published ?? Published(), floating: subject.entry.floating, scanner: scanner,
      imageLabel: subject.target.image?.label.description ?? subject.entry.label)
    if let image = subject.target.image?.label, let job = work.job { work.materials = materials(of: image, job) }
    guard let metadata else { return work }
    do {
      guard var source = try selection.metadata(of: subject, session) else { return work }
      let isAbsent = if case .absent? = subject.entry.state { true } else { false }
      if isAbsent || unspecified.contains(index) {
        guard
          let spec = try selection.specification(
            of: subject, printedBy: work.job?.artifacts ?? [], session)
        else {
          throw Diagnostic.error(
            "\(subject.label) is not published: the log of its `spec` test holds no specification for the metadata",
            cause: .build,
            hints: ["the image prints one when it is run with `spec`; see slipway logs \(release.package):spec"])
        }
        _ = try source.files(spec: spec)
        source.spec = spec
      }
      work.metadata = (metadata, source)
      return work
    } catch {
      subjects[index].entry.fail([error.diagnostic(about: subject.label)])
      return nil
    }
  }

  private mutating func carryOut(_ work: [PublishWork], _ publisher: Publisher, _ receipts: FilePath) async throws {
    for outcome in await PublishWork.run(
      work, publisher, receipts: receipts, limit: options.concurrency, progress: options.progress)
    {
      let index = outcome.index
      switch outcome.result {
      case .success(let done): take(done, index)
      case .failure(let error):
        if error is CancellationError { throw error }
        let list = (error as? DiagnosticList)?.diagnostics ?? [error.diagnostic(about: subjects[index].label)]
        subjects[index].entry.fail(list)
      }
    }
  }

  /// A release whose variant failed would name an image that is not there.
  private mutating func block(_ index: Int) -> Bool {
    guard case .absent? = subjects[index].entry.state else { return false }
    let after = subjects[index].entry.release?.after ?? []
    guard let failed = subjects.first(where: { after.contains($0.entry.repository) && $0.entry.result == .failed })
    else { return false }
    subjects[index].entry.fail(
      [
        .error(
          "\(subjects[index].label) is not published: its metadata names \(failed.entry.repository), which was not "
            + "either", cause: .build)
      ], isConsequence: true)
    return true
  }

  private mutating func take(_ done: PublishWork.Done, _ index: Int) {
    subjects[index].entry.tags = done.tags
    switch subjects[index].entry.state {
    case .absent?: subjects[index].entry.result = .published
    default:
      subjects[index].entry.repairs = done.repairs
      subjects[index].entry.result = done.repairs.isEmpty ? .unchanged : .repaired
    }
  }
}
