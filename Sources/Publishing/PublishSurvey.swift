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
    // `Answer` is no tuple: optimised, Swift 6.3 gives other numbers than were put in where a task's value is one of a
    // number and a `Result`.
    let answers = await withTaskGroup(of: Answer.self, returning: [Int: Answer].self) { group in
      var answers: [Int: Answer] = [:]
      var failures: [String: Int] = [:]
      var successes: Set<String> = []
      var next = 0
      var running = 0
      while next < questions.count || running > 0 {
        if next < questions.count, running < Self.width {
          let index = next
          next += 1
          let question = questions[index]
          let registry = question.release.reference.registry
          if failures[registry, default: 0] >= Self.patience, !successes.contains(registry) {
            answers[index] = Answer(
              index: index,
              result: .failure(
                Diagnostic.error(
                  "\(question.release.reference) was not looked up: \(registry) fails", cause: .environment)))
            continue
          }
          running += 1
          group.addTask { [lookup] in
            do {
              let published = try await lookup.published(question.release, manifest: question.manifest)
              return Answer(index: index, result: .success(published))
            } catch { return Answer(index: index, result: .failure(error)) }
          }
          continue
        }
        guard let answer = await group.next() else { break }
        running -= 1
        let registry = questions[answer.index].release.reference.registry
        switch answer.result {
        case .success: successes.insert(registry)
        case .failure: failures[registry, default: 0] += 1
        }
        answers[answer.index] = answer
      }
      return answers
    }
    try Task.checkCancellation()
    return questions.indices.map { index in
      answers[index]?.result ?? .failure(Diagnostic.error("a release was not looked up", cause: .internal))
    }
  }

  private struct Answer: Sendable {
    var index: Int
    var result: Result<Published, any Error>
  }
}
