import SystemPackage

/// An authority of a test's own, and a certificate by it for 127.0.0.1 and localhost: files of PEM.
package struct Certificates: Sendable {
  package let authority: String
  package let certificate: String
  package let key: String

  /// Makes them in a folder that is there.
  ///
  /// - Parameter isExpired: The certificate was good for a day of the year 2020.
  package init(in folder: FilePath, isExpired: Bool = false) throws {
    let path = folder.string
    (authority, certificate, key) = (path + "/ca.pem", path + "/cert.pem", path + "/key.pem")
    try ServerProcess.write(
      "subjectAltName=IP:127.0.0.1,DNS:localhost\nbasicConstraints=CA:FALSE\n", to: path + "/ext")
    let curve = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
    let signing =
      isExpired
      ? "ca -batch -notext -config \(path)/ca.conf -cert \(authority) -keyfile \(path)/ca.key -in \(path)/csr "
        + "-startdate 20200101000000Z -enddate 20200102000000Z -create_serial -extfile \(path)/ext -out \(certificate)"
      : "x509 -req -in \(path)/csr -CA \(authority) -CAkey \(path)/ca.key -CAcreateserial -days 2 "
        + "-extfile \(path)/ext -out \(certificate)"
    if isExpired {
      try ServerProcess.write(
        """
        [ca]
        default_ca = tests
        [tests]
        new_certs_dir = \(path)
        database = \(path)/index
        serial = \(path)/serial
        default_md = sha256
        policy = names
        [names]
        commonName = supplied

        """, to: path + "/ca.conf")
      try ServerProcess.write("", to: path + "/index")
    }
    for arguments in [
      "req -x509 \(curve) -keyout \(path)/ca.key -out \(authority) -subj /CN=tests -days 2",
      "req \(curve) -keyout \(key) -out \(path)/csr -subj /CN=server", signing,
    ] { try ServerProcess.run(["openssl"] + arguments.split(separator: " ").map(String.init), folder: folder) }
  }
}
