import ArgumentParser
import Manifests

/// `--platform`, of every command that images are made for.
struct PlatformOptions: ParsableArguments {
  @Option(
    parsing: .unconditionalSingleValue,
    help: "Images for this platform only, such as linux/arm64; may be repeated. By default all that they are for.")
  var platform: [String] = []

  func validate() throws { for platform in platform { try Self.check(platform) } }

  static func check(_ platform: String) throws {
    if PlatformText.isPlatform(platform) { return }
    throw ValidationError("`\(platform)` is not a platform such as linux/amd64")
  }

  /// Each once, in byte order.
  var chosen: [String] { Set(platform.map(PlatformText.normalized)).sorted() }
}
