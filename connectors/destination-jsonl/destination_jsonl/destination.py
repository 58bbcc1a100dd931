"""Writes each stream to a file of JSON lines below one folder."""

import json
import os
import pathlib
import re

from connector_protocol import ConfigError, Destination


def file_name(stream):
    """A name that is a single safe path component, and another one for each stream."""
    name = f"{stream.namespace}.{stream.name}" if stream.namespace else stream.name
    return re.sub(r"[^A-Za-z0-9._-]|^\.", lambda match: f"%{ord(match.group()):02x}", name) + ".jsonl"


class DestinationJsonl(Destination):
    specification = {
        "documentationUrl": "https://docs.airbyte.com/integrations/destinations/local-json",
        "supportsIncremental": True,
        "supported_destination_sync_modes": ["append", "overwrite"],
        "connectionSpecification": {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "title": "Local JSON Lines",
            "type": "object",
            "required": ["destination_path"],
            "additionalProperties": True,
            "properties": {
                "destination_path": {
                    "title": "Folder",
                    "description": "Where the files are written; made if it is not there.",
                    "type": "string",
                    "minLength": 1,
                    "examples": ["/local/out"],
                },
            },
        },
    }

    def check(self, config):
        folder = pathlib.Path(config["destination_path"])
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".check-{os.getpid()}"
        probe.write_bytes(b"")
        probe.unlink()

    def write(self, config, streams, messages):
        folder = pathlib.Path(config["destination_path"])
        folder.mkdir(parents=True, exist_ok=True)
        files, replaced = {}, []
        try:
            for stream in streams:
                target = folder / file_name(stream)
                # What is overwritten stays whole until the new content is: a failed sync loses nothing.
                overwrites = stream.destination_sync_mode == "overwrite"
                path = target.with_suffix(".jsonl.part") if overwrites else target
                files[stream.namespace, stream.name] = open(path, "w" if overwrites else "a", encoding="utf-8")
                if overwrites:
                    replaced.append((path, target))
            for message in messages:
                if message["type"] == "RECORD":
                    self.append(files, message["record"])
                elif message["type"] == "STATE":
                    # A state says that its records are safe: they must be on the disk before.
                    for file in files.values():
                        flush(file)
                    yield message
        finally:
            for file in files.values():
                flush(file)
                file.close()
        for path, target in replaced:
            os.replace(path, target)

    @staticmethod
    def append(files, record):
        file = files.get((record.get("namespace"), record.get("stream")))
        if file is None:
            raise ConfigError(f"a record of the stream {record.get('stream')}, which the catalog does not name")
        line = {"_airbyte_emitted_at": record["emitted_at"], **record["data"]}
        file.write(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n")


def flush(file):
    file.flush()
    os.fsync(file.fileno())
