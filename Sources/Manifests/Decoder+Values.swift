import Diagnostics
import Files

/// Values with a grammar of their own; `schemas/` says the same in patterns.
extension Decoder {
  /// Seconds, from `90s`, `10m`, `2h` or `7d`.
  mutating func duration(_ node: Node?, _ what: String) -> Located<Int>? {
    quantity(
      node, what, rule: "a duration such as `90s`, `10m`, `2h` or `7d`",
      units: [("s", 1), ("m", 60), ("h", 3600), ("d", 86400)], suggestion: { "\($0)s" })
  }

  /// Bytes, from `512KiB`, `256MiB`, `50GiB` or `1TiB`.
  mutating func size(_ node: Node?, _ what: String) -> Located<Int>? {
    quantity(
      node, what, rule: "a size such as `256MiB` or `50GiB`",
      units: [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)], suggestion: { "\($0)MiB" })
  }

  private mutating func quantity(
    _ node: Node?, _ what: String, rule: String, units: [(name: String, factor: Int)],
    suggestion: (String) -> String
  ) -> Located<Int>? {
    guard let node, let resolved = resolve(node) else { return nil }
    guard let scalar = resolved.scalar, scalar.type != .null else {
      error("\(what) must be \(rule), not \(resolved.typeDescription)", at: resolved)
      return nil
    }
    let digits = scalar.text.prefix { $0.isASCII && $0.isNumber }
    let unit = scalar.text.dropFirst(digits.count)
    if (1...9).contains(digits.count), digits.first != "0", let count = Int(digits),
      let factor = units.first(where: { $0.name == unit })?.factor
    {
      let (value, overflow) = count.multipliedReportingOverflow(by: factor)
      if !overflow { return Located(value, at: resolved.place) }
    }
    var hint: String?
    if !digits.isEmpty, digits.first != "0", digits.count <= 9 {
      if unit.isEmpty { hint = "say the unit: `\(suggestion(String(digits)))`" }
      let isWord = unit.utf8.allSatisfy { (65...90).contains($0) || (97...122).contains($0) }
      let near =
        !isWord
        ? nil
        : units.first {
          $0.name.lowercased() == unit.lowercased() || $0.name.lowercased() == unit.lowercased().dropLast() + "ib"
            || (unit.count > 1 && $0.name.first.map { unit.lowercased().hasPrefix($0.lowercased()) } ?? false)
        }
      if let near, near.name != unit { hint = "did you mean `\(digits)\(near.name)`?" }
    }
    error("\(what) must be \(rule), not `\(Diagnostic.shortened(scalar.text))`", at: resolved, hint: hint)
    return nil
  }

  /// Cores: a number above 0.
  mutating func cores(_ node: Node?, _ what: String) -> Double? {
    guard let node, let resolved = resolve(node) else { return nil }
    guard let value = resolved.scalar?.number, value > 0, value <= 4096 else {
      error("\(what) must be a number of cores above 0, such as `1` or `0.5`", at: resolved)
      return nil
    }
    return value
  }

  mutating func label(_ node: Node?, _ what: String) -> Located<String>? {
    guard let text = string(node, what) else { return nil }
    if let problem = LabelText.problem(text.value) {
      report(
        .error(
          "\(what) must be a label, not `\(Diagnostic.shortened(text.value))`", at: text.span, hints: [problem]))
      return nil
    }
    return text
  }

  /// A label, with `?` if it may be absent.
  mutating func optionalLabel(_ node: Node?, _ what: String) -> TargetDeclaration.Reference? {
    guard var text = string(node, what) else { return nil }
    let isOptional = text.value.hasSuffix("?")
    if isOptional { text.value.removeLast() }
    if let problem = LabelText.problem(text.value) {
      report(
        .error(
          "\(what) must be a label, not `\(Diagnostic.shortened(text.value))`", at: text.span, hints: [problem]))
      return nil
    }
    return .init(label: text, isOptional: isOptional)
  }

  /// A label, or an image of a registry.
  mutating func image(_ node: Node?, _ what: String) -> Located<String>? {
    guard let text = string(node, what) else { return nil }
    if text.value.hasPrefix(":") || text.value.hasPrefix("/") {
      guard let problem = LabelText.problem(text.value) else { return text }
      report(
        .error(
          "\(what) must be a label or an image, not `\(Diagnostic.shortened(text.value))`", at: text.span,
          hints: [problem]))
      return nil
    }
    guard ImageReference(text.value) != nil else {
      report(
        .error("\(what) must be a label or an image, not `\(Diagnostic.shortened(text.value))`", at: text.span))
      return nil
    }
    return text
  }

  /// A pattern for source files of the package.
  mutating func glob(_ node: Node?, _ what: String) -> Located<String>? {
    guard let text = string(node, what) else { return nil }
    return checkGlob(text, what) ? text : nil
  }

  mutating func checkGlob(_ text: Located<String>, _ what: String) -> Bool {
    do throws(Glob.Malformed) {
      _ = try Glob(text.value)
      return true
    } catch {
      report(.error("\(what): \(Diagnostic.shortened(error.reason, to: 200))", at: text.span))
      return false
    }
  }

  /// A source file or glob, a label, or a file that ships with Slipway.
  mutating func input(_ node: Node?, _ what: String) -> Input? {
    guard var text = string(node, what) else { return nil }
    let isOptional = text.value.hasSuffix("?")
    if isOptional { text.value.removeLast() }
    if text.value.hasPrefix("@") {
      guard let path = LabelText.bundledFile(text.value) else {
        report(
          .error(
            "\(what): `\(Diagnostic.shortened(text.value))` names no file that ships with Slipway", at: text.span,
            hints: ["such a name reads `@slipway//kinds/python:plan.py`"]))
        return nil
      }
      return Input(source: Located(.bundled(path), at: text.place), isOptional: isOptional)
    }
    if text.value.hasPrefix(":") || text.value.hasPrefix("/") {
      if let problem = LabelText.problem(text.value) {
        report(
          .error(
            "\(what): `\(Diagnostic.shortened(text.value))` is neither a label nor a path in the package",
            at: text.span, hints: [problem]))
        return nil
      }
      return Input(source: Located(.label(text.value), at: text.place), isOptional: isOptional)
    }
    guard checkGlob(text, what) else { return nil }
    return Input(source: Located(.glob(text.value), at: text.place), isOptional: isOptional)
  }

  mutating func absolutePath(_ node: Node?, _ what: String) -> Located<String>? {
    string(node, what, "an absolute path", where: PathText.isAbsolute)
  }

  mutating func relativePath(_ node: Node?, _ what: String) -> Located<String>? {
    string(node, what, "a relative path without `..`", where: PathText.isRelative)
  }
}

/// The grammar of labels in files: `:b`, `//a:b`, `//a:b#output`.
package enum LabelText {
  /// Why a text is no label; `nil` if it is one.
  package static func problem(_ text: String) -> String? {
    let example = "a label reads `:target` or `//folder:target`"
    guard text.hasPrefix(":") || text.hasPrefix("//") else { return example }
    guard let colon = text.firstIndex(of: ":") else {
      return "name the target: `\(Diagnostic.shortened(text)):…`"
    }
    let package = text[..<colon]
    if package.count > 2, !isPackage(package.dropFirst(2)) { return example }
    let rest = text[text.index(after: colon)...].split(separator: "#", omittingEmptySubsequences: false)
    guard rest.count <= 2, rest.allSatisfy({ isTargetName($0) }) else { return example }
    return nil
  }

  /// Letters, digits and `_.+-`, beginning with a letter, a digit or `_`.
  package static func isTargetName(_ name: some StringProtocol) -> Bool {
    guard let first = name.utf8.first, isAlphanumeric(first) else { return false }
    return name.utf8.allSatisfy { isAlphanumeric($0) || $0 == 46 || $0 == 43 || $0 == 45 }
  }

  /// `@slipway//kinds/x:f` gives `kinds/x/f`.
  package static func bundledFile(_ text: String) -> String? {
    let prefix = "@slipway//"
    guard text.hasPrefix(prefix) else { return nil }
    let parts = text.dropFirst(prefix.count).split(separator: ":", omittingEmptySubsequences: false)
    guard parts.count == 2, isPackage(parts[0]), isPackage(parts[1]) else { return nil }
    return "\(parts[0])/\(parts[1])"
  }

  private static func isPackage(_ path: some StringProtocol) -> Bool {
    path.split(separator: "/", omittingEmptySubsequences: false).allSatisfy { component in
      !component.isEmpty && component != "." && component != ".."
        && component.utf8.allSatisfy { $0 > 0x20 && $0 != 0x7f && !"#?*:".utf8.contains($0) }
    }
  }

  private static func isAlphanumeric(_ byte: UInt8) -> Bool {
    (48...57).contains(byte) || (65...90).contains(byte) || (97...122).contains(byte) || byte == 95
  }
}

/// The grammar of paths inside a sandbox or an image.
enum PathText {
  /// `/a/b`, or `/`; no empty, `.` or `..` component.
  static func isAbsolute(_ text: String) -> Bool {
    text == "/" || (text.hasPrefix("/") && isRelative(String(text.dropFirst())))
  }

  static func isRelative(_ text: String) -> Bool {
    text.split(separator: "/", omittingEmptySubsequences: false).allSatisfy { component in
      !component.isEmpty && component != "." && component != ".." && component.utf8.allSatisfy { $0 >= 32 && $0 != 127 }
    }
  }
}
