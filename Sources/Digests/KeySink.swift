/// Receives every field that decides a key, in a fixed order.
///
/// One traversal of a description feeds the hash and its explanation alike, so that they cannot disagree (n2's design).
package protocol KeySink {
  mutating func field(_ category: KeyField.Category, _ name: String, _ value: String)
}

/// One thing that a key depends on.
package struct KeyField: Hashable, Sendable {
  package enum Category: String, CaseIterable, Sendable {
    case rule, command, env, directory, output, platform, network, image, input, dependency, secret, setting
  }

  package var category: Category
  package var name: String
  package var value: String

  package init(_ category: Category, _ name: String, _ value: String) {
    self.category = category
    self.name = name
    self.value = value
  }
}

/// The sink that gives the key.
package struct FingerprintSink: KeySink {
  private let hasher = FingerprintHasher()

  package init() {}

  package mutating func field(_ category: KeyField.Category, _ name: String, _ value: String) {
    hasher.update(category.rawValue)
    hasher.update(name)
    hasher.update(value)
  }

  package func finish() -> Fingerprint { hasher.finish() }
}

/// The sink that gives the explanation.
package struct ExplanationSink: KeySink {
  package private(set) var fields: [KeyField] = []

  package init() {}

  package mutating func field(_ category: KeyField.Category, _ name: String, _ value: String) {
    fields.append(KeyField(category, name, value))
  }
}
