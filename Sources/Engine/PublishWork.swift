import Caching
import Diagnostics
import Digests
import Publishing
import SystemPackage

/// A release whose turn it is.
struct PublishWork: Sendable {
  var index: Int
  var release: Release
  /// `nil` in a repair, which builds nothing.
  var job: PublishJob?
  var state: PublishState?
  var published: Published
  var floating: [String]
  /// `nil` without a metadata store.
  var metadata: (store: PublishMetadata, source: PublishMetadata.Source)?
  /// `nil` in a repair.
  var scanner: SBOMScanner?
  /// The image's target.
  var imageLabel: String
  /// What the image of each platform was made from.
  var materials: [String: [Provenance.Dependency]] = [:]

  struct Done: Sendable {
    /// Those that name the release now.
    var tags: [String]
    var repairs: [String] = []
  }

  /// No tuple: optimised, Swift 6.3 gives other numbers than were put in where a task's value is one of a number and a
  /// `Result`.
  struct Outcome: Sendable {
    var index: Int
    var result: Result<Done, any Error>
  }

  /// Carries out all, so many at the same time; the results by index.
  static func run(
    _ work: [PublishWork], _ publisher: Publisher, receipts: FilePath, limit: Int,
    progress: @escaping @Sendable (String) -> Void
  ) async -> [Outcome] {
    await withTaskGroup(of: Outcome.self) { group in
      var results: [Outcome] = []
      var next = 0
      func start() {
        guard next < work.count else { return }
        let item = work[next]
        next += 1
        group.addTask {
          do {
            return Outcome(index: item.index, result: .success(try await item.run(publisher, receipts, progress)))
          } catch { return Outcome(index: item.index, result: .failure(error)) }
        }
      }
      for _ in 0..<max(1, limit) { start() }
      while let result = await group.next() {
        results.append(result)
        if !Task.isCancelled { start() }
      }
      return results.sorted { $0.index < $1.index }
    }
  }

  private func run(_ publisher: Publisher, _ receipts: FilePath, _ progress: @Sendable (String) -> Void) async throws
    -> Done
  {
    var done = Done(tags: [release.tag])
    var receipt: Receipt
    if case .absent? = state, let job { try await publisher.push(job) { try await describe(job, publisher) } }
    // Tags and metadata must be of one image: of two publishes of a version, one waits here and is then told.
    let lock = try await metadata?.store.lock(release)
    defer { withExtendedLifetime(lock) {} }
    switch (state, job) {
    case (.absent?, let job?):
      done.tags = try await publisher.tag(job)
      progress("published \(release.reference)" + (done.tags.contains("latest") ? ", latest" : ""))
      receipt = Receipt(reference: release.reference, manifest: job.top.descriptor, images: job.images)
    case (.identical(let missing)?, _):
      if missing.contains("latest"), try await publisher.restoreLatest(release) {
        done.tags.append("latest")
        done.repairs.append("tag latest")
        progress("\(release.reference) is latest again")
      } else if release.channel == .stable, published.latest == published.version?.manifest {
        done.tags.append("latest")
      }
      if let job, published.version?.manifest == job.top.descriptor.digest {
        receipt = Receipt(reference: release.reference, manifest: job.top.descriptor, images: job.images)
      } else {
        // What is published may have been compressed by another zlib, or be not built at all here.
        receipt = try await publisher.receipt(of: release)
      }
    default: return done
    }
    if let metadata {
      let written = try await metadata.store.bring(
        metadata.source, of: release, manifest: receipt.manifest.digest, publisher)
      if !written.isEmpty, state?.name == "identical" { done.repairs.append("metadata") }
    }
    if case .absent? = state, let job { try await publisher.confirm(job) }
    receipt.tags = done.tags
    receipt.floating = floating
    if try receipt.write(below: receipts), state?.name == "identical" { done.repairs.append("receipt") }
    try publisher.finish(release, manifest: receipt.manifest.digest)
    return done
  }

  /// What is in each image, and what it was made from.
  private func describe(_ job: PublishJob, _ publisher: Publisher) async throws {
    guard let scanner else { return }
    for (artifact, image) in zip(job.artifacts, job.images) {
      let sbom = try await scanner.sbom(of: artifact, name: release.reference.description)
      let provenance = Provenance(
        subjectName: release.reference.name, subject: image.manifest.digest, label: imageLabel,
        platform: image.platform, dependencies: materials[image.platform] ?? [])
      try await publisher.attach(
        [Referrers.Document(sbom), Referrers.Document(provenance)], to: image.manifest, of: release)
    }
  }
}
