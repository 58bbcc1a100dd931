import Diagnostics
import Digests
import Distribution
import SystemPackage

/// Sends every blob to a registry at most once, however many repositories need it at the same time.
///
/// The first to need a blob sends it; the others wait, and then have the registry mount it from there. What an earlier
/// run has sent is looked for where the journal says.
package actor BlobLedger {
  private let client: RegistryClient
  private let journal: PublishJournal
  private var confirmed: [PublishJournal.BlobKey: String] = [:]
  private var leaders: [PublishJournal.BlobKey: Task<BlobPush, any Error>] = [:]

  package init(_ client: RegistryClient, _ journal: PublishJournal) {
    self.client = client
    self.journal = journal
  }

  /// Brings a blob into the repository of a reference.
  package func push(_ descriptor: Descriptor, from path: FilePath, to reference: Reference) async throws -> BlobPush {
    let key = PublishJournal.BlobKey(registry: reference.registry, digest: descriptor.digest)
    while let leader = leaders[key] {
      // Its failure is its own repository's affair.
      _ = await leader.result
      if leaders[key] == leader { leaders[key] = nil }
    }
    if let place = confirmed[key] {
      return try await client.pushBlob(descriptor, from: path, to: reference, mountFrom: [place])
    }
    let (client, journal) = (client, journal)
    let leader = Task {
      if try await client.hasBlob(descriptor, in: reference) { return BlobPush.present }
      let place = try await Self.place(of: descriptor, beside: reference, client, journal)
      try journal.noteBlob(descriptor.digest, to: reference)
      return try await client.pushBlob(descriptor, from: path, to: reference, mountFrom: place.map { [$0] } ?? [])
    }
    leaders[key] = leader
    defer { if leaders[key] == leader { leaders[key] = nil } }
    let result = try await withTaskCancellationHandler {
      try await leader.value
    } onCancel: {
      leader.cancel()
    }
    confirmed[key] = reference.repository
    return result
  }

  /// A repository that has the blob now: a mount from one that has not would open an upload, and end the search.
  private static func place(
    of descriptor: Descriptor, beside reference: Reference, _ client: RegistryClient, _ journal: PublishJournal
  ) async throws -> String? {
    let candidates = journal.repositories(with: descriptor.digest, at: reference.registry)
    for repository in candidates.prefix(4) where repository != reference.repository {
      guard let other = try? Reference(reference.registry + "/" + repository) else { continue }
      // Not allowed to look, or gone: the next one.
      if (try? await client.hasBlob(descriptor, in: other)) == true { return repository }
    }
    return nil
  }
}
