/// What a target does.
package enum Rule: String, CaseIterable, Hashable, Sendable {
  case files, fetch, rootfs, pull, action, image, test, suite, publish

  /// Whether it runs a command that the user wrote.
  package var runsCommand: Bool { self == .fetch || self == .action || self == .test }

  /// Whether it gives an image that may be for several platforms.
  package var isImage: Bool { self == .image || self == .rootfs }

  /// What may be written in a target of this rule.
  package var attributes: [Attribute] { Self.attributeTable[self] ?? [] }

  private static let attributeTable: [Rule: [Attribute]] = Dictionary(
    uniqueKeysWithValues: allCases.map { ($0, $0.tabulatedAttributes) })

  private var tabulatedAttributes: [Attribute] {
    let all: [Attribute] = [.rule, .if, .needs, .when]
    let command: [Attribute] = [
      .image, .inputs, .run, .stdin, .outputs, .env, .cwd, .network, .timeout, .cpu, .memory, .processes, .scratch,
      .retries, .secrets,
    ]
    switch self {
    case .files: return all + [.srcs]
    case .fetch: return all + command + [.plan, .urls]
    case .rootfs:
      return all + [
        .suite, .packages, .exclude, .customize, .components, .variant, .mirror, .keyring, .lock, .snapshot,
        .config, .timeout, .platforms,
      ]
    case .pull: return all + [.image]
    case .action: return all + command + [.properties]
    case .image: return all + [.base, .layers, .config, .platforms]
    case .test: return all + command + [.properties, .flaky, .freshness]
    case .suite: return all + [.tests]
    case .publish: return all + [.image, .metadata]
    }
  }

  /// What must be written.
  package var requiredAttributes: [Attribute] {
    switch self {
    case .files: [.srcs]
    // Or `urls` alone; the decoder says so.
    case .fetch: [.plan, .image, .run, .outputs]
    case .rootfs: [.suite]
    case .pull: [.image]
    case .action: [.image, .run, .outputs]
    case .image: []
    case .test: [.image, .run]
    case .suite: [.tests]
    case .publish: [.image]
    }
  }
}

/// A key of a target.
package enum Attribute: String, CaseIterable, Hashable, Sendable {
  case rule, `if`, needs, when
  case srcs
  case inputs, image, run, stdin, outputs, env, cwd, network
  case timeout, cpu, memory, processes, scratch, retries, secrets, properties
  case plan, urls, flaky, freshness
  case base, layers, config, platforms
  case suite, packages, exclude, customize, components, variant, mirror, keyring, lock, snapshot
  case tests, metadata

  /// Whether it holds a list, so that `+name:` can append to it.
  package var isList: Bool {
    switch self {
    case .if, .needs, .srcs, .inputs, .run, .secrets, .layers, .platforms, .packages, .exclude, .customize, .components,
      .tests:
      true
    default: false
    }
  }

  static let names = allCases.map(\.rawValue)
  static let listNames = allCases.filter(\.isList).map(\.rawValue)
  static let byName = Dictionary(uniqueKeysWithValues: allCases.map { ($0.rawValue, $0) })

  package var rules: [Rule] { Rule.allCases.filter { $0.attributes.contains(self) } }
}
