"""Runs the manifest-only connector that lies beside this file, in source_declarative_manifest/."""

import sys
from pathlib import Path

import yaml
from airbyte_cdk.entrypoint import launch
from airbyte_cdk.sources.declarative.manifest_declarative_source import ManifestDeclarativeSource

CONNECTOR = Path(__file__).parent / "source_declarative_manifest"


def main() -> None:
    # A manifest names its own classes `source_declarative_manifest.components.Name`: importable from this folder.
    sys.path.insert(0, str(CONNECTOR.parent))
    manifest = CONNECTOR / "manifest.yaml"
    if not manifest.is_file():
        sys.exit(f"no manifest at {manifest}: add a layer with one to this image")
    source = ManifestDeclarativeSource(source_config=yaml.safe_load(manifest.read_text(encoding="utf-8")))
    launch(source, sys.argv[1:])


if __name__ == "__main__":
    main()
