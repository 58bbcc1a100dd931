/// Sizes and ages as people write them on a command line.
package enum ByteText {
  private static let units: [(name: String, bytes: Int)] = [
    ("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10),
  ]

  /// `1.2 GiB`; one decimal above a KiB.
  package static func short(_ bytes: Int) -> String {
    for unit in units where bytes >= unit.bytes {
      let tenths = bytes / unit.bytes * 10 + bytes % unit.bytes * 10 / unit.bytes
      return "\(tenths / 10).\(tenths % 10) \(unit.name)"
    }
    return "\(bytes) B"
  }

  /// Bytes of `10GiB`, `500 MiB` or `4096`; `nil` for anything else.
  package static func bytes(_ text: String) -> Int? {
    for unit in units where text.hasSuffix(unit.name) {
      return number(text.dropLast(unit.name.count), times: unit.bytes)
    }
    return number(text[...], times: 1)
  }

  /// Seconds of `30d`, `12h`, `5m` or `90s`; `nil` for anything else.
  package static func seconds(_ text: String) -> Int64? {
    for (suffix, seconds) in [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)] where text.hasSuffix(suffix) {
      return number(text.dropLast(), times: seconds).map(Int64.init)
    }
    return nil
  }

  private static func number(_ digits: Substring, times factor: Int) -> Int? {
    let trimmed = digits.hasSuffix(" ") ? digits.dropLast() : digits
    guard !trimmed.isEmpty, trimmed.allSatisfy({ $0.isASCII && $0.isNumber }), let value = Int(trimmed) else {
      return nil
    }
    let (product, overflow) = value.multipliedReportingOverflow(by: factor)
    return overflow ? nil : product
  }
}
