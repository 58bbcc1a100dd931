import Diagnostics
import Digests
import Distribution

/// Looks up many releases at once.
package struct PublishSurvey: Sendable {
  package struct Question: Sendable {
    package var release: Release
    /// What the tag would name.
    package var manifest: Digest?

    package init(release: Release, manifest: Digest?) {
      self.release = release
      self.manifest = manifest
    }
  }

  private let lookup: PublishLookup
  /// Releases that are asked for at the same time: two requests each.
  private static let width = 16
  /// So many failures of one registry, and nothing else from it, are enough.
  private static let patience = 3

  package init(_ client: RegistryClient) { lookup = PublishLookup(client) }

  /// The answers in the order of the questions.
  ///
  /// A registry that answers nothing is not asked six hundred times: after the first failures the rest fails alike.
  package func answers(_ questions: [Question]) async throws -> [Result<Published, any Error>] {
    var answers = [Result<Published, any Error>?](repeating: nil, count: questions.count)
    var failures: [String: Int] = [:]
    var successes: Set<String> = []
    try await withThrowingTaskGroup(of: (Int, Result<Published, any Error>).self) { group in
      var next = 0
      func start() {
        while next < questions.count {
          let index = next
          next += 1
          let question = questions[index]
          let registry = question.release.reference.registry
          if failures[registry, default: 0] >= Self.patience, !successes.contains(registry) {
            answers[index] = .failure(
              Diagnostic.error(
                "\(question.release.reference) was not looked up: \(registry) fails", cause: .environment))
            continue
          }
          group.addTask { [lookup] in
            do {
              return (index, .success(try await lookup.published(question.release, manifest: question.manifest)))
            } catch { return (index, .failure(error)) }
          }
          return
        }
      }
      for _ in 0..<Self.width { start() }
      while let (index, answer) = try await group.next() {
        let registry = questions[index].release.reference.registry
        switch answer {
        case .success: successes.insert(registry)
        case .failure: failures[registry, default: 0] += 1
        }
        answers[index] = answer
        start()
      }
    }
    try Task.checkCancellation()
    return answers.map {
      $0 ?? .failure(Diagnostic.error("a release was not looked up", cause: .internal))
    }
  }
}
