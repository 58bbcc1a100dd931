import SystemPackage

extension RegistrySettings {
  /// What a command starts from: credentials and authorities as the environment says.
  ///
  /// `SSL_CERT_FILE` names a PEM file of authorities that are trusted beside the system's.
  package init(environment: [String: String]) {
    self.init()
    credentials = .standard(environment: environment)
    if let path = environment["SSL_CERT_FILE"], !path.isEmpty { authorities = [FilePath(path)] }
  }
}
