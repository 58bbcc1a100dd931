import Diagnostics

/// What Airbyte's ConnectorMetadataDefinitionV0 asks for beyond what Slipway needs; every violation is a warning.
///
/// A description of the parts that people write by hand; what its tools generate is not looked into.
enum AirbyteSchema {
  indirect enum Shape: Sendable {
    case any
    case string
    case boolean
    case integer
    case choice([String])
    case list(Shape)
    /// Keys that the user chooses.
    case map(Shape)
    case object([(name: String, shape: Shape)], required: [String] = [], isOpen: Bool = false)
  }

  static func check(_ document: Node, into decoder: inout Decoder) {
    check(document, file, "metadata.yaml", &decoder)
  }

  private static func check(_ node: Node, _ shape: Shape, _ name: String, _ decoder: inout Decoder) {
    switch shape {
    case .any: break
    case .string: expect(node.string != nil, "a string", node, name, &decoder)
    case .boolean: expect(node.scalar?.boolean != nil, "a boolean", node, name, &decoder)
    case .integer: expect(node.scalar?.integer != nil, "an integer", node, name, &decoder)
    case .choice(let names):
      guard let text = node.string else { return expect(false, "a string", node, name, &decoder) }
      guard !names.contains(text) else { return }
      let hint =
        didYouMean(text, among: names).map { "did you mean `\($0)`?" }
        ?? "it is one of \(names.map { "`\($0)`" }.joined(separator: ", "))"
      decoder.report(
        .warning("Airbyte knows no `\(name)` `\(Diagnostic.shortened(text))`", at: node.span, hints: [hint]))
    case .list(let element):
      guard let elements = node.elements else { return expect(false, "a list", node, name, &decoder) }
      for node in elements { check(node, element, name, &decoder) }
    case .map(let value):
      guard let pairs = node.pairs else { return expect(false, "a mapping", node, name, &decoder) }
      for pair in pairs { check(pair.value, value, Diagnostic.shortened(pair.name), &decoder) }
    case .object(let fields, let required, let isOpen):
      guard let pairs = node.pairs else { return expect(false, "a mapping", node, name, &decoder) }
      for field in required where !pairs.contains(where: { $0.name == field }) {
        decoder.report(.warning("Airbyte's schema requires `\(field)` in `\(name)`", at: node.span))
      }
      for pair in pairs {
        if let field = fields.first(where: { $0.name == pair.name }) {
          check(pair.value, field.shape, pair.name, &decoder)
        } else if !isOpen {
          let near = didYouMean(pair.name, among: fields.map(\.name))
          decoder.report(
            .warning(
              "Airbyte's schema has no `\(Diagnostic.shortened(pair.name))` in `\(name)`", at: pair.keyPlace.span,
              hints: near.map { ["did you mean `\($0)`?"] } ?? []))
        }
      }
    }
  }

  private static func expect(_ holds: Bool, _ type: String, _ node: Node, _ name: String, _ decoder: inout Decoder) {
    guard !holds else { return }
    decoder.report(
      .warning("Airbyte's schema wants \(type) for `\(name)`, not \(node.typeDescription)", at: node.span))
  }

  // MARK: The shape of a metadata file

  private static let file: Shape = .object(
    [("metadataSpecVersion", .string), ("data", data)], required: ["metadataSpecVersion", "data"])

  private static let data: Shape = .object(
    [
      ("name", .string), ("icon", .string), ("definitionId", .string),
      ("connectorBuildOptions", .object([("baseImage", .string)])),
      ("connectorTestSuitesOptions", .list(testSuite)),
      ("connectorType", .choice(["destination", "source"])),
      ("dockerRepository", .string), ("dockerImageTag", .string),
      ("supportsDbt", .boolean), ("supportsNormalization", .boolean),
      ("license", .string), ("documentationUrl", .string),
      ("externalDocumentationUrls", .list(.object([], required: ["title", "url"], isOpen: true))),
      ("githubIssueLabel", .string), ("maxSecondsBetweenMessages", .integer), ("releaseDate", .string),
      ("protocolVersion", .string), ("erdUrl", .string),
      (
        "connectorSubtype",
        .choice(["api", "database", "datalake", "file", "custom", "message_queue", "unknown", "vectorstore"])
      ),
      ("releaseStage", .choice(["alpha", "beta", "generally_available", "custom"])),
      ("supportLevel", .choice(["community", "certified", "archived"])),
      ("tags", .list(.string)),
      ("registryOverrides", .object([("oss", registryOverrides), ("cloud", registryOverrides)])),
      ("allowedHosts", allowedHosts), ("releases", releases), ("normalizationConfig", normalizationConfig),
      ("suggestedStreams", suggestedStreams), ("resourceRequirements", resourceRequirements),
      ("ab_internal", .object([("sl", .integer), ("ql", .integer), ("isEnterprise", .boolean)], isOpen: true)),
      (
        "remoteRegistries",
        .object([
          (
            "pypi",
            .object(
              [("enabled", .boolean), ("packageName", .string)],
              required: ["enabled", "packageName"])
          )
        ])
      ),
      ("supportsRefreshes", .boolean), ("generated", .any), ("supportsFileTransfer", .boolean),
      ("supportsDataActivation", .boolean), ("connectorIPCOptions", .object([("dataChannel", .any)])),
    ],
    required: [
      "name", "definitionId", "connectorType", "dockerRepository", "dockerImageTag", "license", "documentationUrl",
      "githubIssueLabel", "connectorSubtype", "releaseStage",
    ])

  private static let testSuite: Shape = .object(
    [
      ("suite", .choice(["unitTests", "integrationTests", "acceptanceTests", "liveTests", "smokeTests"])),
      (
        "testSecrets",
        .list(
          .object(
            [
              ("name", .string), ("fileName", .string),
              ("secretStore", .object([("alias", .string), ("type", .choice(["GSM"]))])),
            ], required: ["name", "secretStore"]))
      ),
      ("testConnections", .list(.object([("name", .string), ("id", .string)], required: ["name", "id"]))),
      ("scenarios", .list(.object([("name", .string)], required: ["name"], isOpen: true))),
    ], required: ["suite"])

  private static let registryOverrides: Shape = .object(
    [
      ("enabled", .boolean), ("public", .boolean), ("name", .string), ("dockerRepository", .string),
      ("dockerImageTag", .string), ("supportsDbt", .boolean), ("supportsNormalization", .boolean),
      ("license", .string), ("documentationUrl", .string), ("connectorSubtype", .string),
      ("allowedHosts", allowedHosts), ("normalizationConfig", normalizationConfig),
      ("suggestedStreams", suggestedStreams), ("resourceRequirements", resourceRequirements),
    ], required: ["enabled"])

  private static let allowedHosts: Shape = .object([("hosts", .list(.string))], isOpen: true)
  private static let suggestedStreams: Shape = .object([("streams", .list(.string))], isOpen: true)
  private static let normalizationConfig: Shape = .object(
    [
      ("normalizationRepository", .string), ("normalizationTag", .string), ("normalizationIntegrationType", .string),
    ], isOpen: true)
  private static let resourceRequirements: Shape = .object([("default", .any), ("jobSpecific", .list(.any))])

  private static let releases: Shape = .object([
    ("rolloutConfiguration", .any),
    (
      "breakingChanges",
      .map(
        .object(
          [("upgradeDeadline", .string), ("message", .string)], required: ["upgradeDeadline", "message"],
          isOpen: true))
    ),
    ("unsafeDowngrades", .any), ("migrationDocumentationUrl", .string),
  ])
}
