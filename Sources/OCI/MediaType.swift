/// Media types of the OCI image specification 1.1 that Slipway writes, and what Docker calls one of them.
package enum MediaType {
  package static let manifest = "application/vnd.oci.image.manifest.v1+json"
  package static let index = "application/vnd.oci.image.index.v1+json"
  package static let config = "application/vnd.oci.image.config.v1+json"
  package static let dockerLayerGzip = "application/vnd.docker.image.rootfs.diff.tar.gzip"
  package static let layerGzip = "application/vnd.oci.image.layer.v1.tar+gzip"
}
