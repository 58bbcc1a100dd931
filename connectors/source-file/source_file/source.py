"""Reads CSV and JSON lines files of one folder; each file name pattern is a stream."""

import csv
import datetime
import gzip
import itertools
import json
import pathlib

from connector_protocol import ConfigError, Source, Stream

CURSOR = "_file_modified"
SAMPLE = 1000  # records of a file that the schema is inferred from


def opened(path, encoding):
    """The text of a file, unpacked where its name ends in .gz."""
    open_file = gzip.open if path.suffix == ".gz" else open
    return open_file(path, "rt", encoding=encoding, newline="")


def number_of(text):
    """The integer or number that a CSV field spells; leading zeros are text: they are codes, such as postcodes."""
    body = text.lstrip("-")
    if body.isascii() and body.isdigit() and (body == "0" or body[0] != "0") and len(body) < 16:
        return int(text)
    # `0x1p3`, `inf`, `1_000` and ` 1` are no numbers in a CSV file, though Python reads some of them as such.
    if body[:1].isdigit() and "." in body and set(body) <= set("0123456789.eE+-") and not body.startswith("00"):
        try:
            return float(text)
        except ValueError:
            return None
    return None


def typed(text):
    if text == "":
        return None
    if text in ("true", "false"):
        return text == "true"
    number = number_of(text)
    return text if number is None else number


def type_of(value):
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    return {int: "integer", float: "number", str: "string", list: "array", dict: "object"}[type(value)]


def merged(types):
    """The type of a column: null and one type, number over integer, and string where types differ."""
    types = set(types) - {"null"}
    if types == {"integer", "number"}:
        types = {"number"}
    return next(iter(types)) if len(types) == 1 else "string"


class SourceFile(Source):
    specification = {
        "documentationUrl": "https://docs.airbyte.com/integrations/sources/file",
        "connectionSpecification": {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "title": "File (CSV and JSON lines)",
            "type": "object",
            "required": ["folder", "streams"],
            "additionalProperties": True,
            "properties": {
                "folder": {
                    "title": "Folder",
                    "description": "Where the files are.",
                    "type": "string",
                    "minLength": 1,
                    "examples": ["/local/exports"],
                    "order": 0,
                },
                "streams": {
                    "title": "Streams",
                    "type": "array",
                    "order": 1,
                    "items": {
                        "type": "object",
                        "required": ["name", "files"],
                        "properties": {
                            "name": {"title": "Name", "type": "string", "minLength": 1},
                            "files": {
                                "title": "Files",
                                "description": "A glob below the folder.",
                                "type": "string",
                                "minLength": 1,
                                "examples": ["orders/*.csv"],
                            },
                            "format": {"title": "Format", "type": "string", "enum": ["csv", "jsonl"]},
                            "delimiter": {"title": "Delimiter", "type": "string", "minLength": 1, "default": ","},
                            "encoding": {"title": "Encoding", "type": "string", "default": "utf-8"},
                        },
                    },
                },
            },
        },
    }

    def check(self, config):
        names = [stream["name"] for stream in config["streams"]]
        if len(set(names)) != len(names):
            raise ConfigError("two streams have one name")
        if not names:
            raise ConfigError("config.streams is empty")
        for stream in config["streams"]:
            for _, _, rows in self.records(config, stream, ""):
                next(rows, None)

    def streams(self, config):
        return [Stream(stream["name"], self.schema(config, stream), [], CURSOR) for stream in config["streams"]]

    def read(self, config, stream, state, incremental):
        settings = next(s for s in config["streams"] if s["name"] == stream.name)
        types = {n: set(p["type"]) for n, p in stream.json_schema["properties"].items()}
        after = state.get(CURSOR, "")
        for modified, group in itertools.groupby(self.records(config, settings, after), key=lambda item: item[1]):
            for data in itertools.chain.from_iterable(records for _, _, records in group):
                # A column that holds text somewhere is text everywhere.
                yield (
                    "record",
                    {
                        name: str(value)
                        if types.get(name) == {"null", "string"} and type(value) in (int, float)
                        else value
                        for name, value in data.items()
                    },
                )
            # Files come in the order of their times; a state between two of one time would lose the second.
            after = modified
            yield "state", {CURSOR: after}

    def files(self, config, stream):
        """The files of a stream as (modified, path), the oldest first."""
        folder = pathlib.Path(config["folder"])
        if not folder.is_dir():
            raise ConfigError(f"{folder} is not a folder")
        pattern = stream["files"]
        if pattern.startswith("/") or ".." in pathlib.PurePath(pattern).parts:
            raise ConfigError(f"{pattern} must stay below the folder")
        found = []
        for path in folder.glob(pattern):
            if path.is_file():
                time = datetime.datetime.fromtimestamp(path.stat().st_mtime, datetime.timezone.utc)
                found.append((time.strftime("%Y-%m-%dT%H:%M:%S.%fZ"), path))
        if not found:
            raise ConfigError(f"{pattern} matches no file in {folder}")
        return sorted(found)

    def records(self, config, stream, after):
        """Each file newer than `after`: its path, its time and an iterator over its records."""
        for modified, path in self.files(config, stream):
            if modified > after:
                yield path, modified, self.rows(path, modified, stream)

    def rows(self, path, modified, stream):
        name = path.name.removesuffix(".gz")
        kind = stream.get("format") or ("jsonl" if name.endswith((".jsonl", ".ndjson", ".json")) else "csv")
        extra = {"_file": path.name, CURSOR: modified}
        try:
            with opened(path, stream.get("encoding", "utf-8")) as file:
                if kind == "csv":
                    for row in csv.DictReader(file, delimiter=stream.get("delimiter", ","), strict=True):
                        if None in row or None in row.values():
                            raise ConfigError(f"{path}: a row has another number of fields than the header")
                        yield {**{key: typed(value) for key, value in row.items()}, **extra}
                    return
                for number, line in enumerate(file, 1):
                    if line.strip():
                        data = json.loads(line)
                        if not isinstance(data, dict):
                            raise ConfigError(f"{path}:{number}: not a JSON object")
                        yield {**data, **extra}
        except (csv.Error, ValueError, LookupError) as error:
            raise ConfigError(f"{path}: {error}") from error

    def schema(self, config, stream):
        types = {}
        for _, _, rows in self.records(config, stream, ""):
            # Of every file, since a later one may have other columns.
            for row in itertools.islice(rows, SAMPLE):
                for name, value in row.items():
                    types.setdefault(name, set()).add(type_of(value))
        properties = {name: {"type": ["null", merged(found)]} for name, found in types.items()}
        properties[CURSOR] = {"type": ["null", "string"], "format": "date-time"}
        return {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object", "properties": properties}
