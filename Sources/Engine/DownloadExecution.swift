import Caching
import Diagnostics
import Digests
import Planning

/// Brings the files of a `fetch` with `urls` into the store, in process.
struct DownloadExecution: Sendable {
  let target: Target
  let key: ActionKey
  let store: Store
  let registries: RegistryAccess

  func run() async throws -> ActionRecord {
    let started = CommandExecution.now()
    let clock = ContinuousClock.now
    let client = registries.client()
    var outputs: [ActionRecord.Output] = []
    for download in target.declaration.urls {
      guard let digest = Digest(hex: download.sha256.value) else {
        throw Diagnostic.error("`\(download.sha256.value)` is no SHA-256", at: download.sha256.span)
      }
      do {
        let file = try await client.download(
          download.url.value, digest: digest, executable: download.isExecutable, into: store)
        outputs.append(
          ActionRecord.Output(name: download.name.value, path: download.path.value, artifact: .file(file)))
      } catch var diagnostic as Diagnostic {
        diagnostic.span = download.url.span
        throw diagnostic
      }
    }
    return ActionRecord(
      key: key.fingerprint, label: target.label.description, rule: "fetch", verdict: .passed, startedAt: started,
      completedAt: CommandExecution.now(), duration: Int64((ContinuousClock.now - clock).milliseconds),
      outputs: outputs, explanation: key.explanation)
  }
}
