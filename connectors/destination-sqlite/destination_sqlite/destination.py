"""Writes each stream to a table of a SQLite database; deduplicates by primary key where that is asked for."""

import contextlib
import json
import pathlib
import sqlite3

from connector_protocol import ConfigError, Destination

BATCH = 1000  # rows
AFFINITY = {"integer": "INTEGER", "number": "REAL", "boolean": "INTEGER", "string": "TEXT"}
EMITTED_AT = "_airbyte_emitted_at"


def quoted(name):
    if "\0" in name:
        raise ConfigError(f"{name!r} cannot name a table or column")
    return '"' + name.replace('"', '""') + '"'


def affinity(schema):
    types = schema.get("type", [])
    types = [t for t in ([types] if isinstance(types, str) else types) if t != "null"]
    return AFFINITY.get(types[0], "TEXT") if len(types) == 1 else "TEXT"


def value_of(value):
    """What SQLite can hold: objects, arrays and integers beyond 64 bits become text."""
    if isinstance(value, (dict, list)):
        return json.dumps(value, ensure_ascii=False, sort_keys=True)
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return str(value)
    return value


class Table:
    def __init__(self, database, stream):
        self.database, self.stream, self.rows = database, stream, []
        name = f"{stream.namespace}.{stream.name}" if stream.namespace else stream.name
        self.name, self.columns = quoted(name), {}
        self.deduplicates = stream.destination_sync_mode == "append_dedup"
        if self.deduplicates and not stream.primary_key:
            raise ConfigError(f"the stream {stream.name} has no primary key to deduplicate by")
        if stream.destination_sync_mode == "overwrite":
            database.execute(f"DROP TABLE IF EXISTS {self.name}")
        properties = stream.json_schema.get("properties") or {}
        wanted = {EMITTED_AT: "INTEGER", **{n: affinity(s) for n, s in properties.items()}}
        for column in stream.primary_key:
            wanted.setdefault(column, "TEXT")
        columns = ", ".join(f"{quoted(n)} {kind}" for n, kind in wanted.items())
        database.execute(f"CREATE TABLE IF NOT EXISTS {self.name} ({columns})")
        self.learn()
        for column, kind in wanted.items():
            self.add_column(column, kind)
        if self.deduplicates:
            index = quoted(f"{name}__primary_key")
            keys = ", ".join(quoted(n) for n in stream.primary_key)
            database.execute(f"CREATE UNIQUE INDEX IF NOT EXISTS {index} ON {self.name} ({keys})")

    def learn(self):
        # SQLite compares names without case, so the columns are known by their folded names.
        rows = self.database.execute(f"PRAGMA table_info({self.name})")
        self.columns = {row[1].casefold(): row[1] for row in rows}

    def add_column(self, name, kind):
        if name.casefold() not in self.columns:
            self.database.execute(f"ALTER TABLE {self.name} ADD COLUMN {quoted(name)} {kind}")
            self.columns[name.casefold()] = name

    def add(self, record):
        row = {EMITTED_AT: record["emitted_at"], **record["data"]}
        missing = [n for n in self.stream.primary_key if row.get(n) is None] if self.deduplicates else []
        if missing:
            raise ConfigError(f"a record of {self.stream.name} has no value for its primary key {missing[0]}")
        for name in row:
            # A column that the schema does not name: the source is ahead of its catalog, and nothing is dropped.
            self.add_column(name, "TEXT")
        self.rows.append({self.columns[n.casefold()]: value_of(v) for n, v in row.items()})
        if len(self.rows) >= BATCH:
            self.flush()

    def flush(self):
        verb = "INSERT OR REPLACE" if self.deduplicates else "INSERT"
        names = sorted(set().union(*self.rows)) if self.rows else []
        if names:
            columns, marks = ", ".join(map(quoted, names)), ", ".join("?" * len(names))
            values = [[row.get(name) for name in names] for row in self.rows]
            self.database.executemany(f"{verb} INTO {self.name} ({columns}) VALUES ({marks})", values)
        self.rows = []


class DestinationSqlite(Destination):
    specification = {
        "documentationUrl": "https://docs.airbyte.com/integrations/destinations/sqlite",
        "supportsIncremental": True,
        "supported_destination_sync_modes": ["append", "overwrite", "append_dedup"],
        "connectionSpecification": {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "title": "Local SQLite",
            "type": "object",
            "required": ["destination_path"],
            "additionalProperties": True,
            "properties": {
                "destination_path": {
                    "title": "Database file",
                    "type": "string",
                    "minLength": 1,
                    "examples": ["/local/warehouse.db"],
                },
            },
        },
    }

    def check(self, config):
        with contextlib.closing(self.open(config)) as database:
            database.execute("BEGIN IMMEDIATE")
            database.execute("CREATE TABLE _airbyte_check (x)")
            database.execute("ROLLBACK")

    def open(self, config):
        path = pathlib.Path(config["destination_path"])
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Transactions are begun and ended here, not guessed by the module.
            database = sqlite3.connect(path, isolation_level=None, timeout=30)
            database.execute("SELECT count(*) FROM sqlite_master")
        except (OSError, sqlite3.Error) as error:
            raise ConfigError(f"cannot open {path}: {error}") from error
        return database

    def write(self, config, streams, messages):
        with contextlib.closing(self.open(config)) as database:
            try:
                database.execute("BEGIN IMMEDIATE")
                tables = {(s.namespace, s.name): Table(database, s) for s in streams}
                for message in messages:
                    if message["type"] == "RECORD":
                        record = message["record"]
                        table = tables.get((record.get("namespace"), record.get("stream")))
                        if table is None:
                            raise ConfigError(f"a record of {record.get('stream')}, which the catalog does not name")
                        table.add(record)
                    elif message["type"] == "STATE":
                        # A state says that its records are safe: they are committed before.
                        for table in tables.values():
                            table.flush()
                        database.execute("COMMIT")
                        yield message
                        database.execute("BEGIN IMMEDIATE")
                for table in tables.values():
                    table.flush()
                database.execute("COMMIT")
            except sqlite3.Error as error:
                raise ConfigError(f"{config['destination_path']}: {error}") from error
