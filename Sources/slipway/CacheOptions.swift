import ArgumentParser
import Diagnostics
import Engine
import RemoteCaching

/// The remote cache, of every command that looks results up.
struct RemoteCacheOptions: ParsableArguments {
  @Option(help: "A remote cache: grpc://, grpcs://, http:// or https://; empty for none. Also SLIPWAY_REMOTE_CACHE.")
  var remoteCache: String?

  @Option(help: "What the remote cache is for: read, write (and read), or off. Also SLIPWAY_REMOTE_CACHE_MODE.")
  var remoteCacheMode: String?

  func validate() throws {
    if let remoteCache, !remoteCache.isEmpty {
      do { _ = try RemoteCacheAddress(remoteCache) } catch let diagnostic as Diagnostic {
        throw ValidationError(diagnostic.message)
      }
    }
    if let mode = remoteCacheMode, RemoteTier.Mode(rawValue: mode) == nil {
      throw ValidationError("--remote-cache-mode must be read, write or off, not `\(mode)`")
    }
  }

  func apply(to options: inout BuildOptions) {
    options.remoteCache = remoteCache
    options.remoteMode = remoteCacheMode
  }
}

/// The remote cache, of every command that builds.
struct CacheOptions: ParsableArguments {
  @OptionGroup var remote: RemoteCacheOptions

  @Option(help: "Which outputs of remote hits to bring: all, requested or none; what is needed here comes anyway.")
  var download: String = "none"

  func validate() throws {
    if BuildOptions.Download(rawValue: download) == nil {
      throw ValidationError("--download must be all, requested or none, not `\(download)`")
    }
  }

  func apply(to options: inout BuildOptions) {
    remote.apply(to: &options)
    options.download = BuildOptions.Download(rawValue: download) ?? .none
  }
}
