extension UInt64 {
  /// 16 lower-case digits, leading zeros kept.
  var lowerHex: String {
    String(unsafeUninitializedCapacity: 16) { buffer in
      for index in 0..<16 {
        let nibble = UInt8(truncatingIfNeeded: self >> UInt64(60 - 4 * index)) & 15
        buffer[index] = nibble < 10 ? 48 + nibble : 87 + nibble
      }
      return 16
    }
  }

  /// The value of lower-case digits; `nil` for any other character.
  init?(lowerHex digits: some Sequence<UInt8>) {
    var value: UInt64 = 0
    for digit in digits {
      switch digit {
      case 48...57: value = value << 4 | UInt64(digit - 48)
      case 97...102: value = value << 4 | UInt64(digit - 87)
      default: return nil
      }
    }
    self = value
  }
}
