import Glibc
import SystemPackage

/// Servers that keep results and blobs, as an ordinary user can run them.
package enum CacheServer {
  /// How a client is told from others.
  package enum Access {
    case open
    /// TLS and HTTP basic.
    case password(Certificates, user: String, password: String)
    /// TLS, and certificates by the same authority.
    case certificate(Certificates)
    case token(String)
  }

  /// nginx as Bazel's simple HTTP cache.
  ///
  /// - Parameter location: Lines that are added to the configuration of both folders.
  package static func nginx(in folder: FilePath, _ access: Access = .open, location: String = "") throws
    -> ServerProcess
  {
    let port = try ServerProcess.freePort()
    let root = folder.string
    // On the file system of the files, so that a PUT ends in a rename.
    for name in ["files", "files/tmp", "tmp"] { mkdir("\(root)/\(name)", 0o755) }
    let temporary = ["fastcgi", "uwsgi", "scgi", "proxy"].map { "\($0)_temp_path \(root)/tmp/\($0);" }
    var (listen, server, maps) = ("", "", "")
    switch access {
    case .open: break
    case .password(let tls, let user, let password):
      listen = " ssl"
      try ServerProcess.write("\(user):{PLAIN}\(password)\n", to: "\(root)/users")
      server = "\(certificate(tls)) auth_basic cache; auth_basic_user_file \(root)/users;"
    case .certificate(let tls):
      listen = " ssl"
      server = "\(certificate(tls)) ssl_client_certificate \(tls.authority); ssl_verify_client on;"
    case .token(let token):
      maps = "map $http_authorization $is_known { default 0; \"Bearer \(token)\" 1; }"
      server = "if ($is_known = 0) { return 401; }"
    }
    try ServerProcess.write(
      """
      daemon off; master_process off; pid \(root)/nginx.pid; error_log \(root)/nginx.log error;
      events { worker_connections 512; }
      http {
        access_log \(root)/requests; default_type application/octet-stream; client_max_body_size 1g;
        client_body_temp_path \(root)/files/tmp;
        \(temporary.joined(separator: "\n  "))
        \(maps)
        server {
          listen 127.0.0.1:\(port)\(listen);
          \(server)
          location ~ "^/(ac|cas)/[0-9a-f]{64}$" {
            root \(root)/files; dav_methods PUT DELETE; create_full_put_path on;
            \(location)
          }
        }
      }
      """, to: "\(root)/nginx.conf")
    return try ServerProcess(
      ["nginx", "-p", root, "-e", "\(root)/nginx.log", "-c", "\(root)/nginx.conf"], port: port, folder: folder)
  }

  /// buildbox-casd, which speaks the Remote Execution API without TLS and knows no users.
  ///
  /// - Parameter jobs: How many actions its built-in worker runs at once; with none, it runs none.
  package static func casd(in folder: FilePath, port: Int? = nil, jobs: Int? = nil) throws -> ServerProcess {
    let top = "/" + #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
    let tools = "\(top)/.build-servers/buildstream/subprojects/buildbox"
    guard access("\(tools)/buildbox-casd", X_OK) == 0 else { throw ServerFailure("no buildbox-casd: run .ci/servers") }
    let port = try port ?? ServerProcess.freePort()
    return try ServerProcess(
      [
        "\(tools)/buildbox-casd", "--bind=127.0.0.1:\(port)", "--buildbox-run=\(tools)/buildbox-run", "--quota-high=2G",
        "--reserved=100M",
      ] + (jobs.map { ["--jobs=\($0)"] } ?? []) + ["\(folder)/casd"], port: port, folder: folder)
  }

  private static func certificate(_ tls: Certificates) -> String {
    "ssl_certificate \(tls.certificate); ssl_certificate_key \(tls.key);"
  }
}
