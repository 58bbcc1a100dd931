import io
import json
import sqlite3
import sys

import pytest
from connector_protocol import launch
from destination_sqlite import DestinationSqlite
from destination_sqlite.destination import value_of

SCHEMA = {"properties": {"id": {"type": "integer"}, "name": {"type": ["null", "string"]}, "tags": {"type": "array"}}}
STATE = {"type": "STATE", "state": {"type": "STREAM", "stream": {"stream_descriptor": {"name": "users"}}}}


def record(**data):
    return {"type": "RECORD", "record": {"stream": "users", "data": data, "emitted_at": 1}}


@pytest.fixture
def write(monkeypatch, capsys, tmp_path):
    def run(mode, *messages, key=("id",)):
        config, catalog = tmp_path / "config.json", tmp_path / "catalog.json"
        config.write_text(json.dumps({"destination_path": str(tmp_path / "out.db")}), encoding="utf-8")
        entry = {
            "stream": {"name": "users", "json_schema": SCHEMA},
            "sync_mode": "incremental",
            "destination_sync_mode": mode,
            "primary_key": [[name] for name in key],
        }
        catalog.write_text(json.dumps({"streams": [entry]}), encoding="utf-8")
        monkeypatch.setattr(sys, "stdin", io.StringIO("".join(json.dumps(m) + "\n" for m in messages)))
        status = launch(DestinationSqlite(), ["write", "--config", str(config), "--catalog", str(catalog)])
        said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        database = sqlite3.connect(tmp_path / "out.db")
        database.row_factory = sqlite3.Row
        return status, said, [dict(row) for row in database.execute('SELECT * FROM "users" ORDER BY id, rowid')]

    return run


def test_the_modes(write):
    _, _, rows = write("append", record(id=1, name="a"), record(id=1, name="b"))
    assert [row["name"] for row in rows] == ["a", "b"]
    status, said, rows = write("overwrite", record(id=2, name=None, tags=["x", {"y": 1}]), STATE)
    assert (status, said) == (0, [STATE])
    assert rows == [{"_airbyte_emitted_at": 1, "id": 2, "name": None, "tags": '["x", {"y": 1}]'}]


def test_deduplication_keeps_the_last_of_each_key(write):
    write("append_dedup", record(id=1, name="a"), record(id=2, name="b"), STATE, record(id=1, name="c"))
    _, _, rows = write("append_dedup", record(id=2, name="d"))
    assert [(row["id"], row["name"]) for row in rows] == [(1, "c"), (2, "d")]


def test_what_a_state_covers_survives_a_later_failure(write):
    other = {"type": "RECORD", "record": {"stream": "other", "data": {}, "emitted_at": 1}}
    status, said, rows = write("append", record(id=1), STATE, record(id=2), other)
    assert status == 1 and said[0] == STATE
    assert [row["id"] for row in rows] == [1]


def test_a_failed_overwrite_keeps_the_old_table(write):
    write("overwrite", record(id=1))
    status, _, rows = write(
        "overwrite", record(id=2), {"type": "RECORD", "record": {"stream": "x", "data": {}, "emitted_at": 1}}
    )
    assert status == 1 and [row["id"] for row in rows] == [1]


def test_new_columns_and_hostile_names(write):
    name = 'x"); DROP TABLE users; --'
    _, _, rows = write("append", record(id=1), record(id=2, **{name: "v", "ID_2": 5}))
    assert rows[1][name] == "v" and rows[0][name] is None and rows[1]["ID_2"] == "5"


def test_column_names_are_compared_without_case(write):
    _, _, rows = write("append", record(ID=3))
    assert rows[0]["id"] == 3


def test_deduplication_needs_a_key(write):
    write("append_dedup", record(id=1))
    status, said, rows = write("append_dedup", record(name="a"))
    assert [row["id"] for row in rows] == [1]
    assert status == 1 and "no value for its primary key id" in said[-1]["trace"]["error"]["message"]


def test_more_rows_than_a_batch(write):
    _, _, rows = write("append", *[record(id=n) for n in range(2500)])
    assert len(rows) == 2500


@pytest.mark.parametrize(
    "value, stored", [(2**63, "9223372036854775808"), ({"b": 1, "a": "ü"}, '{"a": "ü", "b": 1}'), (True, True)]
)
def test_values_that_sqlite_cannot_hold_become_text(value, stored):
    assert value_of(value) == stored


def test_check_refuses_what_is_no_database(tmp_path, capsys):
    (tmp_path / "x.db").write_text("this is not a database, whatever its name says" * 100, encoding="utf-8")
    config = tmp_path / "config.json"
    for path, status in [("new/y.db", "SUCCEEDED"), ("x.db", "FAILED")]:
        config.write_text(json.dumps({"destination_path": str(tmp_path / path)}), encoding="utf-8")
        assert launch(DestinationSqlite(), ["check", "--config", str(config)]) == 0
        assert json.loads(capsys.readouterr().out)["connectionStatus"]["status"] == status
