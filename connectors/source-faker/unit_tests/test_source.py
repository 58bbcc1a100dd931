import json

import pytest
from connector_protocol import launch
from source_faker import SourceFaker


def read(capsys, folder, stream, config, state=None):
    entry = {
        "stream": {"name": stream, "json_schema": {}},
        "sync_mode": "incremental",
        "destination_sync_mode": "append",
    }
    files = {"config": config, "catalog": {"streams": [entry]}}
    if state is not None:
        descriptor = {"name": stream}
        files["state"] = [{"type": "STREAM", "stream": {"stream_descriptor": descriptor, "stream_state": state}}]
    arguments = ["read"]
    for name, value in files.items():
        (folder / name).write_text(json.dumps(value), encoding="utf-8")
        arguments += [f"--{name}", str(folder / name)]
    assert launch(SourceFaker(), arguments) == 0
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    records = [m["record"]["data"] for m in said if m["type"] == "RECORD"]
    states = [m["state"]["stream"]["stream_state"] for m in said if m["type"] == "STATE"]
    return records, states


@pytest.mark.parametrize("stream", ["users", "products", "purchases"])
def test_the_same_seed_gives_the_same_records(capsys, tmp_path, stream):
    first, _ = read(capsys, tmp_path, stream, {"count": 20, "seed": 5})
    again, _ = read(capsys, tmp_path, stream, {"count": 20, "seed": 5})
    other, _ = read(capsys, tmp_path, stream, {"count": 20, "seed": 6})
    assert first == again != other


def test_an_incremental_read_gives_exactly_the_rest(capsys, tmp_path):
    everything, _ = read(capsys, tmp_path, "users", {"count": 250})
    rest, states = read(capsys, tmp_path, "users", {"count": 250}, {"id": 120, "seed": 0})
    assert rest == everything[120:]
    assert states == [{"id": 200, "seed": 0}, {"id": 250, "seed": 0}]


def test_the_state_survives_a_read_without_news(capsys, tmp_path):
    records, states = read(capsys, tmp_path, "users", {"count": 3}, {"id": 3, "seed": 0})
    assert (records, states) == ([], [{"id": 3, "seed": 0}])


def test_another_seed_starts_over(capsys, tmp_path):
    records, _ = read(capsys, tmp_path, "users", {"count": 3, "seed": 1}, {"id": 3, "seed": 0})
    assert [r["id"] for r in records] == [1, 2, 3]


def test_purchases_refer_to_users_and_products_that_exist(capsys, tmp_path):
    purchases, _ = read(capsys, tmp_path, "purchases", {"count": 50})
    products, _ = read(capsys, tmp_path, "products", {"count": 50})
    assert {p["product_id"] for p in purchases} <= {p["id"] for p in products}
    assert all(1 <= p["user_id"] <= 50 for p in purchases)


def test_records_keep_to_their_schema(capsys, tmp_path):
    types = {"integer": int, "string": str, "number": float}
    for stream in SourceFaker().streams({}):
        records, _ = read(capsys, tmp_path, stream.name, {"count": 5})
        properties = stream.json_schema["properties"]
        for record in records:
            assert record.keys() == properties.keys()
            assert all(isinstance(value, types[properties[name]["type"]]) for name, value in record.items())
