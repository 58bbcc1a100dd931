import json

from source_example import launch

CATALOG = {"streams": [{"stream": {"name": "greetings", "json_schema": {}}, "sync_mode": "full_refresh"}]}


def call(capsys, folder, command, config=None):
    arguments = [command]
    for option, value in {"config": config, "catalog": CATALOG if command == "read" else None}.items():
        if value is not None:
            (folder / option).write_text(json.dumps(value), encoding="utf-8")
            arguments += [f"--{option}", str(folder / option)]
    status = launch(arguments)
    return status, [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_the_specification_names_what_it_needs(capsys, tmp_path):
    _, (message,) = call(capsys, tmp_path, "spec")
    assert message["spec"]["connectionSpecification"]["required"] == ["greeting"]


def test_check_says_what_is_missing(capsys, tmp_path):
    for config, status in (({"greeting": "hello"}, "SUCCEEDED"), ({}, "FAILED")):
        _, (message,) = call(capsys, tmp_path, "check", config)
        assert message["connectionStatus"]["status"] == status


def test_every_discovered_stream_can_be_read(capsys, tmp_path):
    _, (message,) = call(capsys, tmp_path, "discover", {"greeting": "hello"})
    assert [stream["name"] for stream in message["catalog"]["streams"]] == ["greetings"]
    status, said = call(capsys, tmp_path, "read", {"greeting": "hello"})
    assert status == 0
    assert [m["record"]["data"]["text"] for m in said] == ["hello, Ada", "hello, Grace", "hello, Linus"]


def test_a_read_without_configuration_fails(capsys, tmp_path):
    status, said = call(capsys, tmp_path, "read", {})
    assert (status, said[0]["trace"]["error"]["failure_type"]) == (1, "config_error")
