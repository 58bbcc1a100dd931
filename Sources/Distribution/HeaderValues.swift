/// The values of the headers that registries answer with, each parsed strictly: what is malformed counts as absent.
enum HeaderValues {
  // MARK: Retry-After

  /// Seconds to wait: a count, or the time until an HTTP date (RFC 9110, 10.2.3); none for a date that has passed.
  static func retryAfter(_ text: String, now: Int) -> Int? {
    let text = trimmed(text)
    if !text.isEmpty, text.utf8.allSatisfy({ (48...57).contains($0) }) { return Int(text) ?? .max }
    return date(text).map { max(0, $0 - now) }
  }

  /// Seconds since 1970 of `Sun, 06 Nov 1994 08:49:37 GMT`, the one form that servers may send.
  static func date(_ text: String) -> Int? {
    let parts = text.split(separator: " ").map(String.init)
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
    guard parts.count == 6, parts[0].hasSuffix(","), parts[5] == "GMT", let day = Int(parts[1]),
      let month = months.firstIndex(of: parts[2]), let year = Int(parts[3]), (1970...9999).contains(year),
      (1...31).contains(day)
    else { return nil }
    let clock = parts[4].split(separator: ":", omittingEmptySubsequences: false).map { Int($0) ?? -1 }
    guard clock.count == 3, (0..<24).contains(clock[0]), (0..<60).contains(clock[1]), (0...60).contains(clock[2]) else {
      return nil
    }
    // Days from 1970-01-01 in the Gregorian calendar, counting years from March.
    let shifted = month < 2 ? year - 1 : year
    let dayOfYear = (153 * ((month + 10) % 12) + 2) / 5 + day - 1
    let days = shifted * 365 + shifted / 4 - shifted / 100 + shifted / 400 + dayOfYear - 719_468
    return days * 86_400 + clock[0] * 3600 + clock[1] * 60 + clock[2]
  }

  // MARK: Link

  /// The target of the first link whose relation is `next` (RFC 8288).
  static func nextLink(_ text: String) -> String? {
    var rest = text[...]
    while let open = rest.firstIndex(of: "<"), let close = rest[open...].firstIndex(of: ">") {
      let target = rest[open..<close].dropFirst()
      rest = rest[close...].dropFirst()
      let end = rest.firstIndex(of: ",") ?? rest.endIndex
      for parameter in rest[..<end].split(separator: ";") {
        let pair = parameter.split(separator: "=", maxSplits: 1).map { trimmed(String($0)) }
        guard pair.count == 2, pair[0].lowercased() == "rel" else { continue }
        let names = pair[1].filter { $0 != "\"" }.split(separator: " ")
        if names.contains(where: { $0.lowercased() == "next" }) { return String(target) }
      }
      rest = rest[end...]
    }
    return nil
  }

  // MARK: Range

  /// How many bytes an upload has, from `0-1023` or `bytes=0-1023`. A session without bytes says `0-0`, as one with a
  /// single byte does: it counts as empty, since sending a byte again is an error that the server reports.
  static func uploadedBytes(_ text: String) -> Int? {
    var text = trimmed(text)
    if text.hasPrefix("bytes=") { text.removeFirst(6) }
    let ends = text.split(separator: "-", omittingEmptySubsequences: false)
    guard ends.count == 2, ends[0] == "0", let last = Int(ends[1]), last >= 0 else { return nil }
    return last == 0 ? 0 : last + 1
  }

  /// The first byte and the whole size (if it is known) of `bytes 10-99/100`.
  static func contentRange(_ text: String) -> (start: Int, whole: Int?)? {
    let text = trimmed(text)
    guard text.hasPrefix("bytes ") else { return nil }
    let halves = text.dropFirst(6).split(separator: "/", omittingEmptySubsequences: false)
    guard halves.count == 2 else { return nil }
    let ends = halves[0].split(separator: "-", omittingEmptySubsequences: false)
    guard ends.count == 2, let start = Int(ends[0]), let last = Int(ends[1]), 0 <= start, start <= last else {
      return nil
    }
    return (start, Int(halves[1]))
  }

  // MARK: Content-Type

  /// The type without its parameters, in lower case.
  static func mediaType(_ text: String) -> String {
    trimmed(String(text.prefix { $0 != ";" })).lowercased()
  }

  static func trimmed(_ text: String) -> String {
    let start = text.drop { $0 == " " || $0 == "\t" }
    guard let last = start.lastIndex(where: { $0 != " " && $0 != "\t" }) else { return "" }
    return String(start[...last])
  }
}
