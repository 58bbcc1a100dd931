import SystemPackage

/// An authority of a test's own, and a certificate by it for 127.0.0.1 and localhost: files of PEM.
package struct Certificates: Sendable {
  package let authority: String
  package let certificate: String
  package let key: String

  /// Makes them in a folder that is there.
  package init(in folder: FilePath) throws {
    let path = folder.string
    (authority, certificate, key) = (path + "/ca.pem", path + "/cert.pem", path + "/key.pem")
    try ServerProcess.write(
      "subjectAltName=IP:127.0.0.1,DNS:localhost\nbasicConstraints=CA:FALSE\n", to: path + "/ext")
    let curve = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
    for arguments in [
      "req -x509 \(curve) -keyout \(path)/ca.key -out \(authority) -subj /CN=tests -days 2",
      "req \(curve) -keyout \(key) -out \(path)/csr -subj /CN=server",
      "x509 -req -in \(path)/csr -CA \(authority) -CAkey \(path)/ca.key -CAcreateserial -days 2 "
        + "-extfile \(path)/ext -out \(certificate)",
    ] { try ServerProcess.run(["openssl"] + arguments.split(separator: " ").map(String.init), folder: folder) }
  }
}
