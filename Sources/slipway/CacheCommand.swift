import ArgumentParser
import Caching
import Console
import Diagnostics
import Engine
import Events

struct CacheCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "cache", abstract: "Shows, checks and shrinks the local cache; looks at a remote one.",
    subcommands: [Stat.self, Verify.self, Collect.self, Folder.self, RemoteDoctor.self, KeyGeneration.self])

  private static func store() throws -> Store { try Store(root: Session.cacheFolder()) }

  struct Stat: ParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "stat", abstract: "Prints what the cache holds.")

    @Flag(help: "Print JSON, with bytes.") var json = false

    func run() throws {
      let store = try store()
      let statistics = try store.statistics()
      let totals = try store.totals()
      let classes = [
        ("blobs", statistics.blobs), ("trees", statistics.trees), ("layers", statistics.layers),
        ("results", statistics.records), ("failures", statistics.failures),
      ]
      if json {
        let fields = classes.map { "\"\($0.0)\":{\"count\":\($0.1.count),\"bytes\":\($0.1.bytes)}" }
        let tiers = String(decoding: totals.json.text, as: UTF8.self)
        return print("{\(fields.joined(separator: ",")),\"bytes\":\(statistics.bytes),\"tiers\":\(tiers)}")
      }
      for (name, value) in classes { print("\(name)\t\(value.count)\t\(ByteText.short(value.bytes))") }
      print("total\t\t\(ByteText.short(statistics.bytes))")
      for (name, tier) in [("local tier", totals.local), ("remote tier", totals.remote ?? TierStatistics())] {
        if let text = Summary.tier(tier) { print("\(name)\t\(text)") }
      }
    }
  }

  struct Verify: ParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "verify", abstract: "Reads every blob and result, and removes what is damaged.")

    func run() throws {
      let result = try store().verify()
      for path in result.removed { print("removed\t\(path)") }
      Slipway.write(
        "\(result.blobs) blobs and \(result.records) results read, \(result.removed.count) damaged and removed\n")
      if !result.removed.isEmpty { throw ExitCode(1) }
    }
  }

  struct Collect: ParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "gc", abstract: "Removes what was not used for longest.")

    @Option(help: "Keep at most so much: 10GiB.") var maxSize: String?
    @Option(help: "Keep nothing that was not used for so long: 30d.") var maxAge: String?
    @Flag(help: "Print JSON, with bytes.") var json = false

    func validate() throws {
      if maxSize == nil, maxAge == nil { throw ValidationError("say --max-size or --max-age, or both") }
      if let maxSize, ByteText.bytes(maxSize) == nil { throw ValidationError("`\(maxSize)` is no size such as 10GiB") }
      if let maxAge, ByteText.seconds(maxAge) == nil { throw ValidationError("`\(maxAge)` is no age such as 30d") }
    }

    func run() throws {
      let collection = try store().gc(
        maxSize: maxSize.flatMap(ByteText.bytes), maxAge: maxAge.flatMap(ByteText.seconds))
      guard let collection else {
        throw Diagnostic.error(
          "cannot collect garbage: a build is using the cache", cause: .environment,
          hints: ["try again when it has ended"])
      }
      if json {
        return print(
          "{\"results\":\(collection.records),\"blobs\":\(collection.blobs),\"trees\":\(collection.trees),"
            + "\"layers\":\(collection.layers),\"freed\":\(collection.freed),\"bytes\":\(collection.remaining)}")
      }
      Slipway.write(
        "freed \(ByteText.short(collection.freed)), \(ByteText.short(collection.remaining)) left: "
          + "\(collection.records) results, \(collection.blobs) blobs, \(collection.layers) layers, "
          + "\(collection.trees) trees removed\n")
    }
  }

  struct Folder: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "dir", abstract: "Prints where the cache is.")

    func run() throws { print(try Session.cacheFolder()) }
  }

  struct RemoteDoctor: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "doctor", abstract: "Uses a remote cache once, and says what it is like.")

    @OptionGroup var common: CommonOptions
    @Argument(help: "Its URL: grpc://, grpcs://, http://, https://.") var url: String

    func run() async throws {
      let findings = try await Session.examineRemoteCache(url, store: store())
      for finding in findings { print("\(finding.name)\t\(finding.value)") }
    }
  }

  struct KeyGeneration: ParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "keygen", abstract: "Makes a key that signs results, and prints the public one, for cache.trust.")

    @Argument(help: "The file for the secret key; SLIPWAY_SIGNING_KEY names it.") var path: String

    func run() throws { print(try Session.makeSigningKey(at: path)) }
  }
}
