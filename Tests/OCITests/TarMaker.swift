/// Writes tars by hand, sound and evil ones alike.
struct TarMaker {
  private(set) var bytes: [UInt8] = []

  enum Kind: Character {
    case file = "0"
    case hardLink = "1"
    case symlink = "2"
    case characterDevice = "3"
    case folder = "5"
    case fifo = "6"
    case sparse = "S"
    case pax = "x"
  }

  /// The size field: 11 octal digits, or what a test wants there.
  enum Size {
    case real
    case octal(Int)
    case raw([UInt8])
  }

  mutating func add(
    _ name: String, _ kind: Kind = .file, _ content: String = "", link: String = "", mode: Int = 0o644,
    size: Size = .real, badChecksum: Bool = false, patch: [Int: [UInt8]] = [:]
  ) {
    var header = [UInt8](repeating: 0, count: 512)
    func put(_ text: [UInt8], at offset: Int) {
      for (index, byte) in text.enumerated() { header[offset + index] = byte }
    }
    func octal(_ value: Int, _ width: Int) -> [UInt8] {
      let digits = String(value, radix: 8)
      return Array((String(repeating: "0", count: max(0, width - digits.count)) + digits).utf8)
    }
    put(Array(name.utf8.prefix(100)), at: 0)
    put(octal(mode, 7), at: 100)
    put(octal(1234, 7), at: 108)
    put(octal(1234, 7), at: 116)
    switch size {
    case .real: put(octal(content.utf8.count, 11), at: 124)
    case .octal(let value): put(octal(value, 11), at: 124)
    case .raw(let field): put(field, at: 124)
    }
    put(octal(315_532_800, 11), at: 136)
    put(Array(String(kind.rawValue).utf8), at: 156)
    put(Array(link.utf8.prefix(100)), at: 157)
    put(Array("ustar".utf8) + [0, 48, 48], at: 257)
    for (offset, value) in patch.sorted(by: { $0.key < $1.key }) { put(value, at: offset) }
    put([UInt8](repeating: 32, count: 8), at: 148)
    let sum = header.reduce(0) { $0 + Int($1) } + (badChecksum ? 1 : 0)
    put(octal(sum, 6) + [0, 32], at: 148)
    bytes += header + content.utf8
    bytes += [UInt8](repeating: 0, count: (512 - content.utf8.count % 512) % 512)
  }

  /// A pax header for the next entry.
  mutating func addPax(_ fields: [(String, String)]) {
    var content = ""
    for (key, value) in fields {
      let rest = " \(key)=\(value)\n"
      var length = rest.utf8.count + 1
      while "\(length)".utf8.count + rest.utf8.count != length { length = "\(length)".utf8.count + rest.utf8.count }
      content += "\(length)" + rest
    }
    add("pax", .pax, content)
  }

  mutating func end() -> [UInt8] { bytes + [UInt8](repeating: 0, count: 1024) }
}
