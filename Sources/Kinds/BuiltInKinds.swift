/// The files of `@slipway//kinds`: the kinds that the binary carries, their scripts, and the templates of `init`.
///
/// They are embedded in the executable, so that it stays one file and reads nothing of the machine it runs on.
package enum BuiltInKinds {
  /// Each file by its path below `kinds/`, sorted by path.
  ///
  /// A file added to this folder must be named here; `BuiltInKindsTests` compares the list with the folder.
  package static let files: [(path: String, bytes: [UInt8])] = [
    ("manifest-only.yaml", PackageResources.manifest_only_yaml),
    ("metadata-only.yaml", PackageResources.metadata_only_yaml),
    ("python.yaml", PackageResources.python_yaml),
    ("python/fetch.py", PackageResources.fetch_py),
    ("python/plan.py", PackageResources.plan_py),
    ("python/site.py", PackageResources.site_py),
  ]
}
