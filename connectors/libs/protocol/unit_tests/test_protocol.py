import io
import json
import sys

import pytest
from connector_protocol import ConfigError, Destination, Source, Stream, check_config, launch

SPECIFICATION = {
    "connectionSpecification": {
        "type": "object",
        "required": ["count"],
        "additionalProperties": False,
        "properties": {
            "count": {"type": "integer", "minimum": 1, "maximum": 10},
            "mode": {"type": "string", "enum": ["a", "b"], "default": "a"},
            "tags": {"type": "array", "items": {"type": "string", "minLength": 2}},
        },
    }
}


class Numbers(Source):
    specification = SPECIFICATION

    def check(self, config):
        if config["count"] == 7:
            raise ConfigError("seven is taken")

    def streams(self, config):
        return [Stream("numbers", {"type": "object"}, ["n"], "n"), Stream("broken", {"type": "object"})]

    def read(self, config, stream, state, incremental):
        if stream.name == "broken":
            yield "record", {"n": 0}
            raise ValueError("it broke")
        for n in range(state.get("n", 0) + 1, config["count"] + 1):
            yield "record", {"n": n}
        yield "state", {"n": config["count"]}


class Echo(Destination):
    specification = SPECIFICATION

    def write(self, config, streams, messages):
        for message in messages:
            if message["type"] == "STATE":
                yield message


def call(capsys, connector, *arguments):
    status = launch(connector, list(arguments))
    return status, [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def save(folder, name, value):
    (folder / name).write_text(json.dumps(value), encoding="utf-8")
    return str(folder / name)


def catalog(folder, name, mode="full_refresh"):
    stream = {"name": name, "json_schema": {}, "supported_sync_modes": ["full_refresh"]}
    entry = {"stream": stream, "sync_mode": mode, "destination_sync_mode": "append"}
    return save(folder, f"{name}.json", {"streams": [entry]})


@pytest.mark.parametrize(
    "config, sentence",
    [
        ({}, "config needs count"),
        ({"count": "1"}, "config.count must be of type integer"),
        ({"count": True}, "config.count must be of type integer"),
        ({"count": 0}, "config.count must be at least 1"),
        ({"count": 11}, "config.count must be at most 10"),
        ({"count": 1, "mode": "c"}, "config.mode must be one of 'a', 'b'"),
        ({"count": 1, "tags": ["x"]}, "config.tags[0] must have at least 2 characters"),
        ({"count": 1, "other": 1}, "config has the unknown field other"),
    ],
)
def test_a_bad_configuration_is_named(config, sentence):
    with pytest.raises(ConfigError) as caught:
        check_config(config, SPECIFICATION)
    assert str(caught.value) == sentence


def test_defaults_are_filled_in():
    assert check_config({"count": 3}, SPECIFICATION) == {"count": 3, "mode": "a"}


def test_spec_and_discover(capsys, tmp_path):
    status, said = call(capsys, Numbers(), "spec")
    assert status == 0 and said[0]["spec"]["connectionSpecification"] == SPECIFICATION["connectionSpecification"]
    status, said = call(capsys, Numbers(), "discover", "--config", save(tmp_path, "c.json", {"count": 1}))
    streams = {s["name"]: s for s in said[0]["catalog"]["streams"]}
    assert status == 0
    assert streams["numbers"]["supported_sync_modes"] == ["full_refresh", "incremental"]
    assert streams["broken"]["supported_sync_modes"] == ["full_refresh"]


def test_a_failed_check_is_an_answer_and_no_failure(capsys, tmp_path):
    for count, expected in [(6, "SUCCEEDED"), (7, "FAILED"), (70, "FAILED")]:
        status, said = call(capsys, Numbers(), "check", "--config", save(tmp_path, "c.json", {"count": count}))
        assert (status, said[0]["connectionStatus"]["status"]) == (0, expected)


def test_incremental_reads_go_on_from_the_state(capsys, tmp_path):
    config = save(tmp_path, "c.json", {"count": 4})
    last = {"type": "STREAM", "stream": {"stream_descriptor": {"name": "numbers"}, "stream_state": {"n": 2}}}
    before = save(tmp_path, "s.json", [last])
    arguments = [
        "read",
        "--config",
        config,
        "--catalog",
        catalog(tmp_path, "numbers", "incremental"),
        "--state",
        before,
    ]
    status, said = call(capsys, Numbers(), *arguments)
    assert status == 0
    assert [m["record"]["data"]["n"] for m in said if m["type"] == "RECORD"] == [3, 4]
    states = [m["state"] for m in said if m["type"] == "STATE"]
    assert states[0]["stream"]["stream_state"] == {"n": 4} and states[0]["sourceStats"]["recordCount"] == 2
    statuses = [m["trace"]["stream_status"]["status"] for m in said if m["type"] == "TRACE"]
    assert statuses == ["STARTED", "RUNNING", "COMPLETE"]


def test_a_stream_that_fails_is_incomplete_and_the_command_fails(capsys, tmp_path):
    config = save(tmp_path, "c.json", {"count": 4})
    status, said = call(capsys, Numbers(), "read", "--config", config, "--catalog", catalog(tmp_path, "broken"))
    assert status == 1
    errors = [m["trace"]["error"] for m in said if m["type"] == "TRACE" and m["trace"]["type"] == "ERROR"]
    assert errors[0]["message"] == "broken: it broke"
    assert said[-1]["trace"]["stream_status"]["status"] == "INCOMPLETE"


def test_an_unknown_command_or_file_is_a_configuration_error(capsys, tmp_path):
    for arguments in (["write"], [], ["check", "--config", str(tmp_path / "none.json")]):
        status, said = call(capsys, Numbers(), *arguments)
        if said[0]["type"] == "TRACE":
            assert status == 1 and said[0]["trace"]["error"]["failure_type"] == "config_error"
        else:
            assert said[0]["connectionStatus"]["status"] == "FAILED"


def test_write_refuses_what_is_no_message(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO('{"type":"STATE","state":{}}\nnonsense\n'))
    config = save(tmp_path, "c.json", {"count": 4})
    status, said = call(capsys, Echo(), "write", "--config", config, "--catalog", catalog(tmp_path, "numbers"))
    assert status == 1
    assert said[0]["type"] == "STATE"
    assert said[1]["trace"]["error"]["message"].startswith("line 2 of stdin is not a message")
