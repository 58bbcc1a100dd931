import Digests

/// Results that other machines have made and may use: the remote tier, as a build sees it.
///
/// Nothing here throws or takes longer than it is worth: whatever goes wrong is a miss, told once at the end.
package protocol SharedResults: Sendable {
  /// How long a build waits while no answer comes at all, before it goes on beside its questions.
  var patience: Duration { get }

  /// What the tier knows of an action; none of its blobs are brought along, but those that came with the answer.
  func lookup(_ request: SharedRequest, into store: Store) async -> SharedLookup

  /// Brings into the store what it lacks of these artifacts, every byte verified.
  ///
  /// - Parameter seconds: How long it takes to make them again, if that is known: what would take longer to bring is not.
  /// - Returns: Whether all of them are there now.
  func fetch(_ artifacts: [Artifact], into store: Store, insteadOf seconds: Double?) async -> Bool

  /// Takes a success and, beside the build, gives it to others with all that it names.
  func offer(_ record: ActionRecord, as request: SharedRequest, from store: Store)
}

/// Bytes by the name that they have on every machine.
package struct RemoteBlob: Hashable, Sendable {
  package var digest: Digest
  /// Bytes.
  package var size: Int

  package init(_ digest: Digest, size: Int) {
    self.digest = digest
    self.size = size
  }
}

/// An action whose result may be known elsewhere.
package struct SharedRequest: Sendable {
  /// The name of its REAPI `Action`.
  package var action: RemoteBlob
  package var key: Fingerprint
  package var label: String
  package var rule: String
  /// Its declared outputs; nil for what is done in process, whose outputs are known by their rule.
  package var outputs: [(name: String, path: String)]?
  /// It saw no network and no secret: what it gave is a function of the action.
  package var isHermetic: Bool

  package init(
    action: RemoteBlob, key: Fingerprint, label: String, rule: String, outputs: [(name: String, path: String)]?,
    isHermetic: Bool
  ) {
    self.action = action
    self.key = key
    self.label = label
    self.rule = rule
    self.outputs = outputs
    self.isHermetic = isHermetic
  }
}

package enum SharedLookup: Sendable {
  /// Under the request's key and label, without an explanation.
  case hit(ActionRecord)
  /// In words for `explain`; nil where nothing was asked.
  case miss(String?)
}
