import Glibc
import SystemPackage

/// BuildGrid as a cache, a content store and an action cache, for the instance without a name.
///
/// It runs in the root file system that `.ci/buildgrid` makes, and sees nothing of the host but the test's folder and the
/// network.
package enum BuildGridServer {
  /// How a client is told from others.
  package enum Access {
    case open
    case tls(Certificates)
    /// TLS, and certificates by the same authority.
    case certificate(Certificates)
    /// Bearer tokens by `token`, in the clear or under TLS.
    case token(Certificates?)
  }

  /// What signs tokens that the server believes.
  package static let secret = "a secret of tests that is long enough for HS256"

  /// - Parameters:
  ///   - folder: A folder that is there. The server's own files go there: `buildgrid.yaml`, `log`, and `store`.
  ///   - takesUpdates: Whether the action cache can be written to.
  package static func start(in folder: FilePath, _ access: Access = .open, takesUpdates: Bool = true) throws
    -> ServerProcess
  {
    let made = ServerProcess.checkout + "/.build-servers/buildgrid"
    guard Glibc.access(made + "/stamp", R_OK) == 0 else {
      throw ServerFailure("there is no BuildGrid at \(made): run .ci/buildgrid")
    }
    let port = try ServerProcess.freePort()
    let path = folder.string
    try ServerProcess.write(configuration(access, port: port, takesUpdates: takesUpdates), to: path + "/buildgrid.yaml")
    try ServerProcess.write(secret, to: path + "/secret")
    try ServerProcess.write(rights, to: path + "/rights.yaml")
    var command = [
      "bwrap", "--ro-bind", made + "/root", "/", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--tmpfs",
      "/run", "--bind", path, "/srv", "--clearenv", "--setenv", "PATH", "/usr/bin:/bin", "--setenv", "HOME", "/tmp",
      // With its namespace of processes, everything in it ends when bwrap does, and bwrap when the test does.
      "--unshare-pid", "--die-with-parent",
    ]
    if let tls = access.certificates {
      for (file, name) in [(tls.authority, "authority"), (tls.certificate, "certificate"), (tls.key, "key")] {
        command += ["--ro-bind", file, "/run/\(name).pem"]
      }
    }
    command += [
      "python3", "-c", "from buildgrid.server.app import cli; cli()", "server", "start", "/srv/buildgrid.yaml",
    ]
    // It takes 1.3 s of a processor of its own.
    return try ServerProcess(command, port: port, folder: folder, patience: .seconds(40))
  }

  /// A token for a server with `Access.token`.
  /// - Parameters:
  ///   - subject: `writer` may do everything, `reader` all but write, anyone else nothing.
  ///   - lifetime: In seconds; negative for a token that has expired.
  ///   - secret: Another one makes a token that the server does not believe.
  package static func token(
    in folder: FilePath, subject: String = "writer", lifetime: Int = 3600, secret: String = secret
  ) throws -> String {
    let text = try ServerProcess.run(
      ["/usr/bin/python3", "-c", signing, subject, "\(lifetime)", secret], folder: folder)
    return String(text.prefix { !$0.isNewline })
  }

  /// The file of a blob in the store of a server, for tests that take it away or damage it.
  package static func blob(_ hash: String, in folder: FilePath) -> FilePath {
    folder.appending("store/cas/objects/\(hash.prefix(2))/\(hash.dropFirst(2))")
  }

  private static let signing = """
    import base64, hmac, json, sys, time
    def part(data): return base64.urlsafe_b64encode(data).rstrip(b"=")
    subject, lifetime, secret = sys.argv[1], int(sys.argv[2]), sys.argv[3].encode()
    claims = {"sub": subject, "exp": int(time.time()) + lifetime}
    text = part(b'{"alg":"HS256","typ":"JWT"}') + b"." + part(json.dumps(claims).encode())
    print((text + b"." + part(hmac.digest(secret, text, "sha256"))).decode())
    """

  /// Of the instance without a name: who may call what.
  private static let rights = """
    "":
      allow:
        - subject: writer$
        - subject: reader$
          requests: [GetCapabilities, GetActionResult, FindMissingBlobs, BatchReadBlobs, GetTree, Read]

    """

  private static func configuration(_ access: Access, port: Int, takesUpdates: Bool) -> String {
    var (channel, authorization) = ("insecure-mode: true", "{method: none}")
    if access.certificates != nil {
      var files = "tls-server-key: /run/key.pem, tls-server-cert: /run/certificate.pem"
      if case .certificate = access { files += ", tls-client-certs: /run/authority.pem" }
      channel = "insecure-mode: false\n    credentials: {\(files)}"
    }
    if case .token = access {
      authorization = "{method: jwt, algorithm: hs256, secret: /srv/secret, acl-config: /srv/rights.yaml}"
    }
    return """
      server:
        - !channel
          address: 127.0.0.1:\(port)
          \(channel)
      authorization: \(authorization)
      # Else a second server could take the port too.
      grpc-server-options: {grpc.so_reuseport: 0}
      # Else it is a function of the machine's processors, and calls beyond it fail.
      thread-pool-size: 20
      maximum-concurrent-rpcs: 100
      monitoring: {enabled: false}
      storages:
        - !disk-storage &storage
          path: /srv/store
      caches:
        - !lru-action-cache &cache
          storage: *storage
          max-cached-refs: 4096
          allow-updates: \(takesUpdates)
          cache-failed-actions: true
      instances:
        - name: ""
          services:
            - !action-cache
              cache: *cache
            - !cas
              storage: *storage
            - !bytestream
              storage: *storage

      """
  }
}

extension BuildGridServer.Access {
  fileprivate var certificates: Certificates? {
    switch self {
    case .open: nil
    case .tls(let certificates), .certificate(let certificates): certificates
    case .token(let certificates): certificates
    }
  }
}
