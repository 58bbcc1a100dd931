import Files

/// A target that is built for another platform than this machine's is another target: `//a/b:c@linux/arm64`.
///
/// No label that a person writes has such a name. What a target of a registry's image is called has an `@` too, but
/// nothing with a slash behind it.
extension Label {
  package func on(_ platform: String) -> Label { Label(package: package, name: "\(name)@\(platform)") }

  /// `nil` for this machine's.
  package var platform: String? {
    guard let mark = name.utf8.lastIndex(of: UInt8(ascii: "@")) else { return nil }
    let rest = name[name.utf8.index(after: mark)...]
    return rest.utf8.contains(UInt8(ascii: "/")) ? String(rest) : nil
  }

  /// The label as manifests have it.
  package var withoutPlatform: Label {
    guard let platform else { return self }
    return Label(package: package, name: String(name.dropLast(platform.count + 1)))
  }
}
