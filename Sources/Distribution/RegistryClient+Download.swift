import Caching
import Diagnostics
import Digests
import NIOHTTP1

extension RegistryClient {
  /// Whether the registry itself has a blob in the repository of the reference.
  package func hasBlob(_ descriptor: Descriptor, in reference: Reference) async throws -> Bool {
    try await asking(reference, "push \(reference)") { asked in
      try await self.hasBlob(descriptor, try await self.reach(asked), reference, .push)
    }
  }

  func hasBlob(_ descriptor: Descriptor, _ endpoint: Endpoint, _ reference: Reference, _ action: Action) async throws
    -> Bool
  {
    let call = Call(
      method: .HEAD, address: address(endpoint, reference, "blobs/" + descriptor.digest.oci), accepts: [200, 404])
    return try await perform(endpoint, scopes: [Self.scope(endpoint.repository(reference), action)], { call }) {
      answer, address in
      await answer.discard()
      guard answer.status == 200 else { return false }
      // Some proxies give every answer to HEAD the length 0.
      if let said = answer.headers.first(name: "Content-Length").flatMap(Int.init), said != 0, said != descriptor.size {
        throw self.exchange.failed(
          .HEAD, address, .content, "the registry has \(said) bytes under this digest, not \(descriptor.size)")
      }
      return true
    }
  }

  /// Brings a blob into the store, unless it is there, and verifies its digest and size.
  ///
  /// After a broken connection the rest is asked for; where a server does not give parts, all of it.
  ///
  /// - Parameter progress: Told of bytes as they come; negative when some turned out to be worthless.
  @discardableResult
  package func pullBlob(
    _ descriptor: Descriptor, of reference: Reference, into store: Store,
    progress: @escaping @Sendable (Int) -> Void = { _ in }
  ) async throws -> FileArtifact {
    if store.contains(descriptor.digest, size: descriptor.size) {
      progress(descriptor.size)
      return FileArtifact(digest: descriptor.digest, size: descriptor.size, isExecutable: false)
    }
    guard descriptor.size <= settings.limits.blob else {
      throw Diagnostic.error(
        "cannot pull \(reference): the blob \(descriptor.digest.oci) has \(descriptor.size) bytes, more than the "
          + "\(settings.limits.blob) allowed", cause: .environment)
    }
    // Images share layers: whoever comes second finds the blob in the store.
    await gate.enter(descriptor.digest.oci)
    let result: Result<FileArtifact?, any Error>
    do {
      if store.contains(descriptor.digest, size: descriptor.size) {
        progress(descriptor.size)
        result = .success(FileArtifact(digest: descriptor.digest, size: descriptor.size, isExecutable: false))
      } else {
        result = .success(
          try await pulling(reference, "pull \(reference)") { asked in
            try await self.download(descriptor, try await self.reach(asked), reference, store, progress)
          })
      }
    } catch {
      result = .failure(error)
    }
    await gate.leave(descriptor.digest.oci)
    guard let artifact = try result.get() else {
      throw Diagnostic.error(
        "cannot pull \(reference): GET /v2/\(reference.repository)/blobs/\(descriptor.digest.oci): 404 NOT_FOUND",
        cause: .environment,
        hints: ["the registry has lost a part of the image; it must be pushed again"])
    }
    return artifact
  }

  private func download(
    _ descriptor: Descriptor, _ endpoint: Endpoint, _ reference: Reference, _ store: Store,
    _ progress: @Sendable (Int) -> Void
  ) async throws -> FileArtifact? {
    let address = address(endpoint, reference, "blobs/" + descriptor.digest.oci)
    var writer = try BlobWriter(store)
    func startAgain() throws {
      progress(-writer.size)
      writer = try BlobWriter(store)
    }
    do {
      return try await perform(endpoint, scopes: [Self.scope(endpoint.repository(reference), .pull)]) {
        // All of it came, and it was wrong.
        if writer.size >= descriptor.size { try startAgain() }
        var headers = [("Accept-Encoding", "identity")]
        if writer.size > 0 { headers.append(("Range", "bytes=\(writer.size)-\(descriptor.size - 1)")) }
        return Call(
          method: .GET, address: address, headers: headers, size: descriptor.size - writer.size,
          accepts: [200, 206, 404, 416], progress: writer.size)
      } receive: { answer, address in
        switch answer.status {
        case 404:
          await answer.discard()
          return nil
        case 416:
          await answer.discard()
          try startAgain()
          var failure = self.exchange.failed(.GET, address, .status(416), "416: the rest of the blob is not given")
          failure.isTransient = true
          throw failure
        case 206:
          let range = answer.headers.first(name: "Content-Range").flatMap(HeaderValues.contentRange)
          guard range?.start == writer.size, range?.whole.map({ $0 == descriptor.size }) ?? true else {
            try startAgain()
            var failure = self.exchange.failed(
              .GET, address, .content, "another part of the blob was sent than asked for")
            failure.isTransient = true
            throw failure
          }
        default:
          if writer.size > 0 { try startAgain() }
        }
        try self.checkHeaders(answer, address, descriptor, have: writer.size)
        try await answer.forEachPiece { piece in
          guard writer.size + piece.count <= descriptor.size else {
            throw self.exchange.failed(
              .GET, address, .content, "the blob has more than the \(descriptor.size) bytes that its descriptor says")
          }
          try writer.write(piece)
          progress(piece.count)
        }
        return try self.finish(writer, descriptor, address)
      }
    } catch {
      progress(-writer.size)
      throw error
    }
  }

  private func checkHeaders(_ answer: Transport.Answer, _ address: WebAddress, _ descriptor: Descriptor, have: Int)
    throws
  {
    let type = HeaderValues.mediaType(answer.headers.first(name: "Content-Type") ?? "")
    if type == "text/html", descriptor.mediaType != type {
      throw exchange.failed(.GET, address, .content, "the answer is `text/html`, not a blob")
    }
    if let coding = answer.headers.first(name: "Content-Encoding"), coding.lowercased() != "identity" {
      throw exchange.failed(
        .GET, address, .content, "the blob is sent in the encoding `\(coding.prefix(40))`, which was not asked for")
    }
    if let length = answer.headers.first(name: "Content-Length").flatMap(Int.init), length != descriptor.size - have {
      throw exchange.failed(
        .GET, address, .content,
        "the blob has \(have + length) bytes, but its descriptor says \(descriptor.size)")
    }
  }

  private func finish(_ writer: BlobWriter, _ descriptor: Descriptor, _ address: WebAddress) throws -> FileArtifact {
    guard writer.size == descriptor.size else {
      var failure = exchange.failed(
        .GET, address, .content, "the blob ended after \(writer.size) of \(descriptor.size) bytes")
      failure.isTransient = true
      throw failure
    }
    // Wrong bytes enter the store under their own digest, where nobody asks for them.
    let artifact = try writer.finish()
    guard artifact.digest == descriptor.digest else {
      var failure = exchange.failed(
        .GET, address, .content, "the blob's bytes do not have the digest \(descriptor.digest.oci)")
      failure.isTransient = true
      throw failure
    }
    return artifact
  }
}
