/// A connector's `metadata.yaml`: what Slipway reads of it, and the rest as it is.
package struct ConnectorMetadata: Sendable {
  /// The whole document.
  package var document: Node
  /// Its `data`: what `${data.a.b}` looks into.
  package var data: Node
  package var repository: Located<String>?
  /// A semantic version.
  package var version: Located<String>?
  package var tags: [Located<String>]
  package var baseImage: Located<String>?
  package var supportLevel: Located<String>?
  package var title: Located<String>?
}
