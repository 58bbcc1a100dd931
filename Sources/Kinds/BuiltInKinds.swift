/// The files of `@slipway//kinds`: the kinds that the binary carries, their scripts, and the templates of `init`.
///
/// They are embedded in the executable, so that it stays one file and reads nothing of the machine it runs on.
package enum BuiltInKinds {
  /// Each file by its path below `kinds/`, sorted by path.
  ///
  /// A template is a connector that works as it is: `init` writes its files with `source-example` replaced by the new
  /// name, `source_example` by that name in snake case (in paths too), and the `definitionId` of zeros by a random one.
  ///
  /// A file added to this folder must be named here; `BuiltInKindsTests` compares the list with the folder.
  package static let files: [(path: String, bytes: [UInt8])] = [
    ("manifest-only.yaml", PackageResources.manifest_only_yaml),
    ("metadata-only.yaml", PackageResources.metadata_only_yaml),
    ("python.yaml", PackageResources.python_yaml),
    ("python/fetch.py", PackageResources.fetch_py),
    ("python/plan.py", PackageResources.plan_py),
    ("python/site.py", PackageResources.site_py),
    ("templates/python-source/README.md", PackageResources.README_md),
    ("templates/python-source/icon.svg", PackageResources.icon_svg),
    ("templates/python-source/main.py", PackageResources.main_py),
    ("templates/python-source/metadata.yaml", PackageResources.metadata_yaml),
    ("templates/python-source/pyproject.toml", PackageResources.pyproject_toml),
    ("templates/python-source/requirements-dev.lock", PackageResources.requirements_dev_lock),
    ("templates/python-source/source_example/__init__.py", PackageResources.__init___py),
    ("templates/python-source/source_example/source.py", PackageResources.source_py),
    ("templates/python-source/unit_tests/test_source.py", PackageResources.test_source_py),
  ]
}
