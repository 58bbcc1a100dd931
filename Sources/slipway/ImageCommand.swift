import ArgumentParser
import Diagnostics
import Engine
import Glibc
import OCI

/// Single images, between the store, files and registries.
struct ImageCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "image", abstract: "Saves, pushes or inspects one image.",
    subcommands: [Save.self, Push.self, Inspect.self])

  struct Save: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "save", abstract: "Writes an image as a tar that skopeo, podman and docker load.")

    @OptionGroup var target: ImageArguments
    @Option(name: .shortAndLong, help: "The file; standard output without it.") var output: String?
    @Option(name: .shortAndLong, help: "repository:tag that the image gets where it is loaded.") var tag: [String] = []

    func validate() throws {
      if output == nil, isatty(1) == 1 { throw ValidationError("the tar would go to the terminal; say --output FILE") }
    }

    func run() async throws {
      let session = try target.common.session()
      let images = try await target.images(session)
      try session.save(images, names: tag, to: output)
    }
  }

  struct Push: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "push", abstract: "Pushes an image and prints the reference that names it for good.")

    @OptionGroup var target: ImageArguments
    @Argument(help: "registry/repository[:tag].") var reference: String

    func run() async throws {
      let session = try target.common.session()
      session.connect(to: reference)
      let images = try await target.images(session)
      print(try await session.push(images, to: reference))
    }
  }

  struct Inspect: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "inspect", abstract: "Prints an image's digests, layers and configuration as JSON.")

    @OptionGroup var target: ImageArguments

    func run() async throws {
      let session = try target.common.session()
      let images = try await target.images(session)
      print(try session.inspection(of: images))
    }
  }
}

/// The image that a command is about.
struct ImageArguments: ParsableArguments {
  @OptionGroup var common: CommonOptions
  @OptionGroup var platforms: PlatformOptions
  @Argument(help: "An image target.", completion: .labels) var label: String

  func images(_ session: Session) async throws -> PlatformImages {
    try await BuildArguments.images(session, label, platforms.chosen).images
  }
}

struct UpdateImagesCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "update-images", abstract: "Pins images of registries to the digests that their tags have now.")

  @OptionGroup var common: CommonOptions
  @Argument(help: "Packages to look at; all without any.", completion: .labels) var patterns: [String] = []
  @Flag(help: "Say what would change, and change nothing.") var dryRun = false

  func run() async throws {
    let all = patterns.isEmpty ? ["//..."] : patterns
    let updates = try await common.session().updateImages(all, writes: !dryRun)
    for update in updates { print("\(update.file):\(update.line)\t\(update.old) -> \(update.new)") }
    let count = updates.count == 1 ? "1 image" : "\(updates.count) images"
    Slipway.write("\(count) \(dryRun ? "would be pinned anew" : "pinned anew")\n")
  }
}
