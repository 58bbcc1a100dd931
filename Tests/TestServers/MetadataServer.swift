import Glibc
import SystemPackage

/// nginx as a metadata store, and the field's own tools.
package enum MetadataServer {
  /// nginx with WebDAV, configured as an ordinary user can run it.
  ///
  /// - Parameters:
  ///   - users: The lines of a password file: without one, everybody may do everything.
  ///   - location: Lines that are added to the folder's configuration.
  package static func nginx(in folder: FilePath, users: String? = nil, tls: Certificates? = nil, location: String = "")
    throws
    -> ServerProcess
  {
    let port = try ServerProcess.freePort()
    let root = folder.string
    // On the file system of the files, so that a PUT ends in a rename.
    for name in ["files", "files/.tmp", "tmp"] { mkdir("\(root)/\(name)", 0o755) }
    if let users { try ServerProcess.write(users, to: "\(root)/users") }
    let temporary = ["fastcgi", "uwsgi", "scgi", "proxy"].map { "\($0)_temp_path \(root)/tmp/\($0);" }
    try ServerProcess.write(
      """
      daemon off; master_process off; pid \(root)/nginx.pid; error_log \(root)/nginx.log error;
      events { worker_connections 256; }
      http {
        access_log \(root)/requests; default_type application/octet-stream; client_max_body_size 64m;
        client_body_temp_path \(root)/files/.tmp;
        \(temporary.joined(separator: "\n  "))
        server {
          listen 127.0.0.1:\(port)\(tls == nil ? "" : " ssl");
          \(tls.map { "ssl_certificate \($0.certificate); ssl_certificate_key \($0.key);" } ?? "")
          location / {
            root \(root)/files;
            \(location.contains("dav_methods") ? "" : "dav_methods PUT DELETE;")
            \(location.contains("create_full_put_path") ? "" : "create_full_put_path on;")
            \(users == nil ? "" : "auth_basic metadata; auth_basic_user_file \(root)/users;")
            \(location)
          }
        }
      }
      """, to: "\(root)/nginx.conf")
    return try ServerProcess(
      ["nginx", "-p", root, "-e", "\(root)/nginx.log", "-c", "\(root)/nginx.conf"], port: port, folder: folder)
  }

  /// Runs a command to its end; its exit status and what it printed.
  package static func run(_ arguments: [String], in folder: FilePath) throws -> (status: Int32, output: String) {
    let log = folder.string + "/run.\(UInt32.random(in: 0 ... .max))"
    let child = try ServerProcess.spawn(arguments, output: log)
    var status: Int32 = 0
    while waitpid(child, &status, 0) < 0 && errno == EINTR {}
    return (status & 0x7f == 0 ? status >> 8 & 0xff : 128 + (status & 0x7f), ServerProcess.text(log))
  }
}
