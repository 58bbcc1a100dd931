import io
import json
import sys

import pytest
from connector_protocol import ConfiguredStream, launch
from destination_jsonl import DestinationJsonl
from destination_jsonl.destination import file_name


def record(stream, **data):
    return {"type": "RECORD", "record": {"stream": stream, "data": data, "emitted_at": 1}}


STATE = {"type": "STATE", "state": {"type": "GLOBAL", "global": {"stream_states": []}}}


def write(monkeypatch, capsys, folder, mode, *messages):
    config, catalog = folder / "config.json", folder / "catalog.json"
    config.write_text(json.dumps({"destination_path": str(folder / "out")}), encoding="utf-8")
    entry = {"stream": {"name": "users", "json_schema": {}}, "sync_mode": "full_refresh", "destination_sync_mode": mode}
    catalog.write_text(json.dumps({"streams": [entry]}), encoding="utf-8")
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(json.dumps(m) + "\n" for m in messages)))
    status = launch(DestinationJsonl(), ["write", "--config", str(config), "--catalog", str(catalog)])
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    path = folder / "out" / "users.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return status, said, [json.loads(line) for line in lines]


def test_append_adds_and_overwrite_replaces(monkeypatch, capsys, tmp_path):
    write(monkeypatch, capsys, tmp_path, "append", record("users", id=1))
    _, _, lines = write(monkeypatch, capsys, tmp_path, "append", record("users", id=2), STATE)
    assert [line["id"] for line in lines] == [1, 2]
    status, said, lines = write(monkeypatch, capsys, tmp_path, "overwrite", record("users", id=3, name="Zoë"), STATE)
    assert (status, said) == (0, [STATE])
    assert lines == [{"_airbyte_emitted_at": 1, "id": 3, "name": "Zoë"}]


def test_a_failed_overwrite_keeps_what_was_there(monkeypatch, capsys, tmp_path):
    write(monkeypatch, capsys, tmp_path, "overwrite", record("users", id=1))
    status, said, lines = write(
        monkeypatch, capsys, tmp_path, "overwrite", record("users", id=2), record("other", id=3)
    )
    assert status == 1 and [line["id"] for line in lines] == [1]
    assert "which the catalog does not name" in said[-1]["trace"]["error"]["message"]


def test_an_empty_overwrite_empties(monkeypatch, capsys, tmp_path):
    write(monkeypatch, capsys, tmp_path, "overwrite", record("users", id=1))
    status, _, lines = write(monkeypatch, capsys, tmp_path, "overwrite", STATE)
    assert (status, lines) == (0, [])
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["users.jsonl"]


@pytest.mark.parametrize(
    "name, expected",
    [
        ("users", "users.jsonl"),
        ("../x", "%2e.%2fx.jsonl"),
        ("a/b", "a%2fb.jsonl"),
        (".hidden", "%2ehidden.jsonl"),
        ("a%2fb", "a%252fb.jsonl"),
    ],
)
def test_file_names_stay_in_the_folder(name, expected):
    assert file_name(ConfiguredStream(name, None, {}, False, "append", [])) == expected


def test_check_says_why_a_folder_does_not_work(tmp_path, capsys):
    (tmp_path / "file").write_text("", encoding="utf-8")
    config = tmp_path / "config.json"
    for path, status in [(tmp_path / "new/folder", "SUCCEEDED"), (tmp_path / "file" / "x", "FAILED")]:
        config.write_text(json.dumps({"destination_path": str(path)}), encoding="utf-8")
        assert launch(DestinationJsonl(), ["check", "--config", str(config)]) == 0
        assert json.loads(capsys.readouterr().out)["connectionStatus"]["status"] == status
