/// The names of platforms, as OCI writes them: `linux/amd64`, `linux/arm/v7`.
package enum PlatformText {
  /// Only Linux: nothing else can be built of layers that a Linux kernel shows.
  package static func isPlatform(_ text: String) -> Bool {
    let parts = text.split(separator: "/", omittingEmptySubsequences: false)
    guard parts.count == 2 || parts.count == 3, parts[0] == "linux" else { return false }
    return parts.dropFirst().allSatisfy { part in
      !part.isEmpty && part.utf8.count <= 32
        && part.utf8.allSatisfy { (97...122).contains($0) || (48...57).contains($0) }
    }
  }

  /// `linux/arm64/v8` is what `linux/arm64` means.
  package static func normalized(_ text: String) -> String { text == "linux/arm64/v8" ? "linux/arm64" : text }
}
