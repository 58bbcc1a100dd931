import Diagnostics
import Files

/// Values with a grammar of their own; `schemas/` says the same in patterns.
extension Decoder {
  /// Seconds, from `90s`, `10m`, `2h` or `7d`.
  mutating func duration(_ node: Node?, _ what: Subject) -> Located<Int>? {
    quantity(
      node, what, rule: "a duration such as `90s`, `10m`, `2h` or `7d`",
      units: [("s", 1), ("m", 60), ("h", 3600), ("d", 86400)], suggestion: { "\($0)s" })
  }

  /// Bytes, from `512KiB`, `256MiB`, `50GiB` or `1TiB`.
  mutating func size(_ node: Node?, _ what: Subject) -> Located<Int>? {
    quantity(
      node, what, rule: "a size such as `256MiB` or `50GiB`",
      units: [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)], suggestion: { "\($0)MiB" })
  }

  private mutating func quantity(
    _ node: Node?, _ what: Subject, rule: String, units: [(name: String, factor: Int)],
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
  mutating func cores(_ node: Node?, _ what: Subject) -> Double? {
    guard let node, let resolved = resolve(node) else { return nil }
    guard let value = resolved.scalar?.number, value > 0, value <= 4096 else {
      error("\(what) must be a number of cores above 0, such as `1` or `0.5`", at: resolved)
      return nil
    }
    return value
  }

  /// `linux/arm64`, as OCI writes it; with a variant where one is needed to tell processors apart.
  mutating func platform(_ node: Node?, _ what: Subject) -> Located<String>? {
    guard let text = string(node, what, "a platform such as `linux/arm64`", where: PlatformText.isPlatform) else {
      return nil
    }
    return Located(PlatformText.normalized(text.value), at: text.place)
  }

  mutating func label(_ node: Node?, _ what: Subject) -> Located<String>? {
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
  mutating func optionalLabel(_ node: Node?, _ what: Subject) -> TargetDeclaration.Reference? {
    guard var text = string(node, what) else { return nil }
    let isOptional = text.value.utf8.last == UInt8(ascii: "?")
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
  mutating func image(_ node: Node?, _ what: Subject) -> Located<String>? {
    guard let text = string(node, what) else { return nil }
    if let first = text.value.utf8.first, first == UInt8(ascii: ":") || first == UInt8(ascii: "/") {
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
  mutating func glob(_ node: Node?, _ what: Subject) -> Located<String>? {
    guard let text = string(node, what) else { return nil }
    return checkGlob(text, what) ? text : nil
  }

  mutating func checkGlob(_ text: Located<String>, _ what: Subject) -> Bool {
    do throws(Glob.Malformed) {
      _ = try Glob(text.value)
      return true
    } catch {
      report(.error("\(what): \(Diagnostic.shortened(error.reason, to: 200))", at: text.span))
      return false
    }
  }

  /// A source file or glob, a label, or a file that ships with Slipway.
  mutating func input(_ node: Node?, _ what: Subject) -> Input? {
    guard var text = string(node, what) else { return nil }
    let isOptional = text.value.utf8.last == UInt8(ascii: "?")
    if isOptional { text.value.removeLast() }
    if text.value.utf8.first == UInt8(ascii: "@") {
      guard let path = LabelText.bundledFile(text.value) else {
        report(
          .error(
            "\(what): `\(Diagnostic.shortened(text.value))` names no file that ships with Slipway", at: text.span,
            hints: ["such a name reads `@slipway//kinds/python:plan.py`"]))
        return nil
      }
      return Input(source: Located(.bundled(path), at: text.place), isOptional: isOptional)
    }
    if let first = text.value.utf8.first, first == UInt8(ascii: ":") || first == UInt8(ascii: "/") {
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

  mutating func absolutePath(_ node: Node?, _ what: Subject) -> Located<String>? {
    string(node, what, "an absolute path", where: PathText.isAbsolute)
  }

  mutating func relativePath(_ node: Node?, _ what: Subject) -> Located<String>? {
    string(node, what, "a relative path without `..`", where: PathText.isRelative)
  }
}

/// The grammar of labels in files: `:b`, `//a:b`, `//a:b#output`.
package enum LabelText {
  /// Why a text is no label; `nil` if it is one.
  package static func problem(_ text: String) -> String? {
    let bytes = text.utf8
    if bytes.first == UInt8(ascii: ":"), isTarget(bytes.dropFirst()) { return nil }
    let example = "a label reads `:target` or `//folder:target`"
    guard bytes.first == UInt8(ascii: ":") || bytes.starts(with: "//".utf8) else { return example }
    guard let colon = bytes.firstIndex(of: UInt8(ascii: ":")) else {
      return "name the target: `\(Diagnostic.shortened(text)):…`"
    }
    let package = bytes[..<colon].dropFirst(2)
    if !package.isEmpty, !isPackage(package) { return example }
    return isTarget(bytes[colon...].dropFirst()) ? nil : example
  }

  /// `target`, `target#output`
  private static func isTarget(_ bytes: Substring.UTF8View) -> Bool {
    guard let number = bytes.firstIndex(of: UInt8(ascii: "#")) else { return isName(bytes) }
    return isName(bytes[..<number]) && isName(bytes[number...].dropFirst())
  }

  /// Letters, digits and `_.+-`, beginning with a letter, a digit or `_`.
  package static func isTargetName(_ name: String) -> Bool { isName(name.utf8[...]) }

  private static func isName(_ name: Substring.UTF8View) -> Bool {
    guard let first = name.first, isAlphanumeric(first) else { return false }
    return name.allSatisfy { isAlphanumeric($0) || $0 == 46 || $0 == 43 || $0 == 45 }
  }

  /// `@slipway//kinds/x:f` gives `kinds/x/f`.
  package static func bundledFile(_ text: String) -> String? {
    let bytes = text.utf8
    let prefix = "@slipway//".utf8
    guard bytes.starts(with: prefix) else { return nil }
    let parts = bytes.dropFirst(prefix.count).split(separator: UInt8(ascii: ":"), omittingEmptySubsequences: false)
    guard parts.count == 2, isPackage(parts[0]), isPackage(parts[1]) else { return nil }
    return "\(Substring(parts[0]))/\(Substring(parts[1]))"
  }

  private static func isPackage(_ path: Substring.UTF8View) -> Bool {
    path.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false).allSatisfy { component in
      !component.isEmpty && !component.elementsEqual(".".utf8) && !component.elementsEqual("..".utf8)
        && component.allSatisfy { $0 > 0x20 && $0 != 0x7f && !"#?*:".utf8.contains($0) }
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
    text.utf8.first == UInt8(ascii: "/") && (text.utf8.count == 1 || isRelative(text.utf8.dropFirst()))
  }

  static func isRelative(_ text: String) -> Bool { isRelative(text.utf8[...]) }

  private static func isRelative(_ bytes: Substring.UTF8View) -> Bool {
    bytes.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false).allSatisfy { component in
      !component.isEmpty && !component.elementsEqual(".".utf8) && !component.elementsEqual("..".utf8)
        && component.allSatisfy { $0 >= 32 && $0 != 127 }
    }
  }
}
