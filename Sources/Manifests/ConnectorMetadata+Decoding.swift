import Diagnostics

extension ConnectorMetadata {
  /// `nil` when the file has an error; what only Airbyte's own schema forbids is a warning.
  package static func decode(_ source: SourceText, diagnostics: inout DiagnosticList) -> ConnectorMetadata? {
    guard let document = parse(source, &diagnostics) else { return nil }
    var decoder = Decoder(.document)
    let metadata = decoder.metadata(document)
    diagnostics.diagnostics += decoder.diagnostics
    return decoder.hasErrors ? nil : metadata
  }
}

extension Decoder {
  mutating func metadata(_ document: Node) -> ConnectorMetadata? {
    guard document.pairs != nil else {
      expected("a mapping", for: "`metadata.yaml`", found: document)
      return nil
    }
    guard let data = document["data"] else {
      error("`metadata.yaml` needs `data`", at: document)
      return nil
    }
    guard data.pairs != nil else {
      expected("a mapping", for: "`data`", found: data)
      return nil
    }
    var metadata = ConnectorMetadata(document: document, data: data, tags: [])
    metadata.repository = string(data["dockerRepository"], "`dockerRepository`", "an image without a tag") {
      ImageReference($0).map { $0.tag == nil && $0.digest == nil } ?? false
    }
    // `6.2` is a number to YAML and still the version that somebody meant.
    if let version = data["dockerImageTag"] {
      if let scalar = version.scalar, scalar.type != .null {
        if scalar.type == .string, SemanticVersion(scalar.text) != nil {
          metadata.version = Located(scalar.text, at: version.place)
        } else {
          error("`dockerImageTag` is not a semantic version: `\(Diagnostic.shortened(scalar.text))`", at: version)
        }
      } else {
        expected("a string", for: "`dockerImageTag`", found: version)
      }
    }
    metadata.tags = list(data["tags"], "`tags`") { $0.string($1, $2) }
    metadata.supportLevel = string(data["supportLevel"], "`supportLevel`")
    metadata.title = string(data["name"], "`name`")
    if let options = data["connectorBuildOptions"] {
      if options.pairs == nil { expected("a mapping", for: "`connectorBuildOptions`", found: options) }
      metadata.baseImage = string(options["baseImage"], "`baseImage`")
    }
    // Its warnings would repeat the errors.
    if !hasErrors { AirbyteSchema.check(document, into: &self) }
    return metadata
  }
}
