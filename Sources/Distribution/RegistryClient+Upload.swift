import Diagnostics
import Digests
import NIOHTTP1
import SystemPackage

/// How a blob came to be in a repository.
package enum BlobPush: Hashable, Sendable {
  /// It was there.
  case present
  /// The registry took it from another repository of its own.
  case mounted(from: String)
  case uploaded
}

extension RegistryClient {
  /// Puts a blob into the repository of a reference.
  ///
  /// Asks first whether it is there, then whether the registry has it in another repository, and only then sends it: at
  /// once if it is small, else in chunks, so that after a broken connection the upload goes on where the registry says
  /// that it stands. A registry that has given the upload up gets a new one.
  ///
  /// - Parameters:
  ///   - path: A file that holds exactly the bytes of the descriptor; they are verified by the registry.
  ///   - mountFrom: Repositories of the same registry that may have it, likeliest first.
  ///   - progress: Told of bytes that are dealt with; negative when some must be sent again.
  @discardableResult
  package func pushBlob(
    _ descriptor: Descriptor, from path: FilePath, to reference: Reference, mountFrom: [String] = [],
    progress: @escaping @Sendable (Int) -> Void = { _ in }
  ) async throws -> BlobPush {
    let file = try OpenFile(path)
    guard file.size == descriptor.size else {
      throw Diagnostic.error(
        "cannot push \(reference): `\(path)` has \(file.size) bytes, but its descriptor says \(descriptor.size)",
        cause: .environment, hints: ["run `slipway cache verify`, then build again"])
    }
    // Images share layers: whoever comes second mounts what the first has sent.
    let key = reference.registry + " " + descriptor.digest.oci
    await gate.enter(key)
    let result: Result<BlobPush, any Error>
    do {
      let known = place(of: descriptor.digest, reference).map { [$0] } ?? []
      result = .success(try await send(descriptor, file, reference, known + mountFrom, progress))
      notePlace(of: descriptor.digest, reference)
    } catch {
      result = .failure(error)
    }
    await gate.leave(key)
    return try result.get()
  }

  private func send(
    _ descriptor: Descriptor, _ file: OpenFile, _ reference: Reference, _ mountFrom: [String],
    _ progress: @escaping @Sendable (Int) -> Void
  ) async throws -> BlobPush {
    try await asking(reference, "push \(reference)") { asked in
      let endpoint = try await self.reach(asked)
      if try await self.hasBlob(descriptor, endpoint, reference, .push) {
        progress(descriptor.size)
        return .present
      }
      var session: WebAddress?
      for repository in mountFrom.prefix(3) where repository != reference.repository {
        let source = endpoint.prefix + repository
        switch try await self.mount(descriptor, endpoint, reference, source) {
        case .mounted:
          progress(descriptor.size)
          return .mounted(from: repository)
        case .session(let address): session = address
        case .refused: break
        }
        // One session is enough: it serves for the upload.
        if session != nil { break }
      }
      let upload = Upload(
        client: self, endpoint: endpoint, reference: reference, descriptor: descriptor, file: file, progress: progress)
      try await upload.run(session)
      return .uploaded
    }
  }

  /// Where an upload goes on, if the answer says so.
  func uploadLocation(_ answer: Transport.Answer, _ method: HTTPMethod, _ address: WebAddress) throws -> WebAddress? {
    guard let text = answer.headers.first(name: "Location") else { return nil }
    guard let location = address.resolving(text) else {
      throw exchange.failed(method, address, .content, "the upload's `Location` is not a URL")
    }
    guard location.isSecure || !address.isSecure else {
      throw exchange.failed(method, address, .refused, "the upload would go to \(location.origin), without TLS")
    }
    return location
  }

  private enum Mount {
    case mounted
    /// Not there; the registry opened an upload instead.
    case session(WebAddress?)
    case refused
  }

  private func mount(_ descriptor: Descriptor, _ endpoint: Endpoint, _ reference: Reference, _ source: String)
    async throws -> Mount
  {
    let address = address(endpoint, reference, "blobs/uploads/").adding([
      ("mount", descriptor.digest.oci), ("from", source),
    ])
    let scopes = [Self.scope(endpoint.repository(reference), .push), Self.scope(source, .pull)]
    let call = Call(method: .POST, address: address, accepts: [201, 202])
    do {
      return try await perform(endpoint, scopes: scopes, { call }) { answer, address in
        await answer.discard()
        if answer.status == 201 { return .mounted }
        return .session(try self.uploadLocation(answer, .POST, address))
      }
    } catch let failure as RegistryFailure {
      // Not allowed to read the source, or no such thing as mounting: the upload decides.
      switch failure.reason {
      case .notFound, .status(400), .status(401), .status(403), .status(405): return .refused
      default: throw failure
      }
    }
  }
}

/// One upload: where it is, and how far it got.
private final class Upload {
  let client: RegistryClient
  let endpoint: Endpoint
  let reference: Reference
  let descriptor: Descriptor
  let file: OpenFile
  let progress: @Sendable (Int) -> Void
  /// Where the next request goes; `nil` before the upload is opened.
  private var location: WebAddress?
  /// Bytes that the registry has confirmed.
  private var offset = 0
  /// Bytes that it has if it took all of the last request.
  private var expected = 0
  /// Bytes that were reported as progress.
  private var reported = 0
  /// Whether the last request may have changed what the registry has.
  private var isUncertain = false
  private var restarts = 0
  /// Requests of which the registry took a part only.
  private var partial = 0
  /// Bytes of a request.
  private var chunk: Int

  init(
    client: RegistryClient, endpoint: Endpoint, reference: Reference, descriptor: Descriptor, file: OpenFile,
    progress: @escaping @Sendable (Int) -> Void
  ) {
    self.client = client
    self.endpoint = endpoint
    self.reference = reference
    self.descriptor = descriptor
    self.file = file
    self.progress = progress
    chunk = client.settings.limits.chunk
  }

  private var scopes: [String] { [RegistryClient.scope(endpoint.repository(reference), .push)] }

  func run(_ session: WebAddress?) async throws {
    location = session
    do {
      if descriptor.size <= chunk { try await whole() } else { try await chunks() }
      report(descriptor.size)
    } catch {
      report(0)
      throw error
    }
  }

  private func report(_ bytes: Int) {
    if bytes != reported { progress(bytes - reported) }
    reported = bytes
  }

  // MARK: In one request

  private func whole() async throws {
    let payload = piece(0, descriptor.size)
    try await client.perform(endpoint, scopes: scopes) {
      if self.isUncertain {
        // The answer may have been lost after the blob arrived.
        if try await self.client.hasBlob(self.descriptor, self.endpoint, self.reference, .push) {
          return self.question(RegistryClient.Call.self)
        }
        self.location = nil
      }
      let location = try await self.opened()
      self.isUncertain = true
      return RegistryClient.Call(
        method: .PUT, address: location.adding([("digest", self.descriptor.digest.oci)]),
        headers: [("Content-Type", "application/octet-stream")], payload: payload, size: self.descriptor.size,
        accepts: [201, 204])
    } receive: { answer, address in
      await answer.discard()
      try self.check(answer, address)
    }
  }

  /// A request that only confirms what is known already.
  private func question(_ type: RegistryClient.Call.Type) -> RegistryClient.Call {
    type.init(
      method: .HEAD, address: client.address(endpoint, reference, "blobs/" + descriptor.digest.oci), accepts: [200])
  }

  // MARK: In chunks

  private func chunks() async throws {
    while true {
      do {
        while offset < descriptor.size { try await send() }
        if try await close() { return }
      } catch let failure as RegistryFailure where location != nil && isLost(failure) {
        restarts += 1
        location = nil
        offset = 0
        isUncertain = false
        report(0)
        // Not every registry takes chunks: in the end, all at once.
        if restarts == 3 { return try await whole() }
      }
    }
  }

  /// Whether the registry no longer knows the upload, stands at another byte than it said, or takes no chunks.
  private func isLost(_ failure: RegistryFailure) -> Bool {
    switch failure.reason {
    case .status(400): return failure.code != "DIGEST_INVALID"
    case .notFound, .status(405), .status(416), .status(501): return true
    default: return false
    }
  }

  private func send() async throws {
    try await client.perform(endpoint, scopes: scopes) {
      if self.isUncertain { try await self.askOffset() }
      let location = try await self.opened()
      let start = self.offset
      let length = min(self.chunk, self.descriptor.size - start)
      guard length > 0 else { return self.status(location) }
      self.expected = start + length
      self.isUncertain = true
      return RegistryClient.Call(
        method: .PATCH, address: location,
        headers: [
          ("Content-Type", "application/octet-stream"), ("Content-Range", "\(start)-\(start + length - 1)"),
        ], payload: self.piece(start, length), size: length, accepts: [202, 201, 204], progress: start)
    } receive: { answer, address in
      await answer.discard()
      let start = self.offset
      try self.take(answer, address, orElse: self.expected)
      guard self.offset != self.expected else { return }
      // A server may take less than it was sent, but must not keep the upload going for ever.
      self.partial += 1
      guard self.offset > start, self.partial <= 16 else {
        throw self.client.exchange.failed(
          .PATCH, address, .content, "the registry has \(self.offset) bytes, not the \(self.expected) that it was sent")
      }
    }
  }

  private func status(_ location: WebAddress) -> RegistryClient.Call {
    RegistryClient.Call(method: .GET, address: location, accepts: [200, 202, 204])
  }

  private func askOffset() async throws {
    guard let location else { return }
    let call = status(location)
    try await client.perform(endpoint, scopes: scopes, { call }) { answer, address in
      await answer.discard()
      try self.take(answer, address)
    }
  }

  /// Notes what an answer says of the upload: how many bytes it has, and where it goes on.
  ///
  /// - Parameter orElse: What counts where it does not say; the digest tells in the end.
  private func take(_ answer: Transport.Answer, _ address: WebAddress, orElse: Int? = nil) throws {
    let header = answer.headers.first(name: "Range")
    guard let range = header == nil ? orElse : header.flatMap(HeaderValues.uploadedBytes), range <= descriptor.size
    else {
      throw client.exchange.failed(
        .PATCH, address, .content, "the registry does not say how much of the upload it has (`Range`)")
    }
    if let next = try client.uploadLocation(answer, .PATCH, address) { location = next }
    offset = range
    isUncertain = false
    report(range)
  }

  private func close() async throws -> Bool {
    guard let location else { return false }
    try await client.perform(endpoint, scopes: scopes) {
      if self.isUncertain, try await self.client.hasBlob(self.descriptor, self.endpoint, self.reference, .push) {
        return self.question(RegistryClient.Call.self)
      }
      self.isUncertain = true
      return RegistryClient.Call(
        method: .PUT, address: location.adding([("digest", self.descriptor.digest.oci)]),
        headers: [("Content-Type", "application/octet-stream")], size: self.descriptor.size, accepts: [201, 204])
    } receive: { answer, address in
      await answer.discard()
      try self.check(answer, address)
    }
    return true
  }

  // MARK: Both

  private func opened() async throws -> WebAddress {
    if let location { return location }
    let call = RegistryClient.Call(
      method: .POST, address: client.address(endpoint, reference, "blobs/uploads/"), accepts: [202])
    let location = try await client.perform(endpoint, scopes: scopes, { call }) { answer, address in
      await answer.discard()
      guard let location = try self.client.uploadLocation(answer, .POST, address) else {
        throw self.client.exchange.failed(.POST, address, .content, "the answer does not say where to upload to")
      }
      if let least = answer.headers.first(name: "OCI-Chunk-Min-Length").flatMap(Int.init) {
        self.chunk = max(self.chunk, min(least, 1 << 30))
      }
      return location
    }
    self.location = location
    return location
  }

  private func piece(_ offset: Int, _ length: Int) -> Payload {
    length == 0 ? .none : .file(FilePiece(file: file, offset: offset, length: length))
  }

  private func check(_ answer: Transport.Answer, _ address: WebAddress) throws {
    if let said = answer.headers.first(name: "Docker-Content-Digest"), said.hasPrefix("sha256:"),
      said != descriptor.digest.oci
    {
      throw client.exchange.failed(
        .PUT, address, .content, "the registry took other bytes: it says \(said.prefix(80))")
    }
  }
}
