import Diagnostics
import Distribution
import Glibc
import Manifests
import Synchronization
import SystemPackage

/// The registries of a workspace: reached as `slipway.yaml` and the caller's Docker configuration say, once somebody asks.
package final class RegistryAccess: Sendable {
  private let settings: WorkspaceSettings
  private let root: FilePath
  private let opened = Mutex<RegistryClient?>(nil)
  private let found = Mutex<[Diagnostic]>([])

  init(settings: WorkspaceSettings, root: FilePath) {
    self.settings = settings
    self.root = root
  }

  package func client() -> RegistryClient {
    opened.withLock { known in
      if let known { return known }
      let client = RegistryClient(registrySettings())
      known = client
      return client
    }
  }

  func registrySettings() -> RegistrySettings {
    var result = RegistrySettings(environment: Self.environment())
    for registry in settings.registries {
      result.registries[registry.host.value.lowercased()] = RegistrySettings.Registry(
        mirrors: registry.mirrors.map(\.value), insecure: registry.isInsecure)
      if let authority = registry.authority { result.authorities.append(root.appending(authority.value)) }
    }
    result.warn = { warning in self.found.withLock { $0.append(warning) } }
    return result
  }

  static func environment() -> [String: String] {
    var result: [String: String] = [:]
    var next = environ
    while let entry = next.pointee {
      let text = String(cString: entry)
      if let equals = text.firstIndex(of: "=") {
        result[String(text[..<equals])] = String(text[text.index(after: equals)...])
      }
      next += 1
    }
    return result
  }

  /// What went wrong without stopping anything, such as a mirror that failed; each is told once.
  func takeWarnings() -> [Diagnostic] {
    found.withLock { list in
      defer { list = [] }
      return list
    }
  }

  /// Closes all connections; must be called before the last reference goes.
  package func close() async {
    let client = opened.withLock { known in
      defer { known = nil }
      return known
    }
    await client?.close()
  }
}
