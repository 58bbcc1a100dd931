import gzip
import os

import pytest
from connector_protocol import ConfigError
from source_file import SourceFile
from source_file.source import CURSOR, typed


def config(folder, pattern, **more):
    return {"folder": str(folder), "streams": [{"name": "rows", "files": pattern, **more}]}


def read(settings, state=None):
    source = SourceFile()
    source.check(settings)
    (stream,) = source.streams(settings)
    said = list(source.read(settings, stream, state or {}, True))
    records = [{k: v for k, v in data.items() if not k.startswith("_")} for kind, data in said if kind == "record"]
    return records, [data for kind, data in said if kind == "state"], stream.json_schema["properties"]


@pytest.mark.parametrize(
    "text, value",
    [
        ("", None),
        ("true", True),
        ("12", 12),
        ("-3", -3),
        ("0", 0),
        ("1.50", 1.5),
        ("01067", "01067"),
        ("nan", "nan"),
        ("1_000", "1_000"),
        (" 1", " 1"),
        ("12345678901234567890", "12345678901234567890"),
        ("1.2.3", "1.2.3"),
        ("-", "-"),
    ],
)
def test_fields_get_their_types(text, value):
    assert typed(text) == value and type(typed(text)) is type(value)


def test_csv_with_quotes_and_line_breaks(tmp_path):
    (tmp_path / "a.csv").write_bytes('id;text\r\n1;"a;b"\r\n2;"two\r\nlines"\r\n'.encode())
    records, _, properties = read(config(tmp_path, "*.csv", delimiter=";"))
    assert records == [{"id": 1, "text": "a;b"}, {"id": 2, "text": "two\r\nlines"}]
    assert properties["id"] == {"type": ["null", "integer"]}


def test_a_mixed_column_is_text_everywhere(tmp_path):
    (tmp_path / "a.csv").write_text("code\n7\nx7\n", encoding="utf-8")
    records, _, properties = read(config(tmp_path, "a.csv"))
    assert properties["code"] == {"type": ["null", "string"]}
    assert [r["code"] for r in records] == ["7", "x7"]


def test_json_lines_packed_and_plain(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"id": 1}\n\n{"id": 2, "tags": ["x"]}\n', encoding="utf-8")
    with gzip.open(tmp_path / "b.jsonl.gz", "wt", encoding="utf-8") as file:
        file.write('{"id": 3}\n')
    os.utime(tmp_path / "a.jsonl", (1000, 1000))
    os.utime(tmp_path / "b.jsonl.gz", (2000, 2000))
    records, states, _ = read(config(tmp_path, "*.jsonl*"))
    assert [r["id"] for r in records] == [1, 2, 3]
    assert states[-1] == {CURSOR: "1970-01-01T00:33:20.000000Z"}


def test_only_newer_files_are_read_again(tmp_path):
    for name, time in (("old.csv", 1000), ("new.csv", 2000)):
        (tmp_path / name).write_text(f"name\n{name}\n", encoding="utf-8")
        os.utime(tmp_path / name, (time, time))
    settings = config(tmp_path, "*.csv")
    _, states, _ = read(settings)
    assert read(settings, states[0])[0] == [{"name": "new.csv"}]
    assert read(settings, states[1])[0] == []


@pytest.mark.parametrize(
    "name, content, sentence",
    [
        ("a.csv", "a,b\n1\n", "another number of fields"),
        ("a.jsonl", "[1]\n", "not a JSON object"),
        ("a.jsonl", "{\n", "Expecting"),
    ],
)
def test_damaged_files_are_named(tmp_path, name, content, sentence):
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        read(config(tmp_path, name))
    assert name in str(caught.value) and sentence in str(caught.value)


@pytest.mark.parametrize("pattern", ["*.none", "../x.csv", "/etc/passwd"])
def test_patterns_that_match_nothing_or_leave_the_folder(tmp_path, pattern):
    with pytest.raises(ConfigError):
        SourceFile().check(config(tmp_path, pattern))
