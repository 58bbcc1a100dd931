"""Speaks the Airbyte protocol: spec, check, discover and read."""

import argparse
import json
import time

SPECIFICATION = {
    "type": "object",
    "title": "source-example",
    "required": ["greeting"],
    "additionalProperties": True,
    "properties": {"greeting": {"type": "string", "minLength": 1, "title": "Greeting", "examples": ["hello"]}},
}
STREAMS = {
    "greetings": {
        "type": "object",
        "properties": {"id": {"type": "integer"}, "text": {"type": "string"}},
    }
}


def emit(kind, field, value):
    print(json.dumps({"type": kind, field: value}), flush=True)


def load(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def records(stream, config):
    """The records of a stream: replace this with what your API gives."""
    for number, name in enumerate(("Ada", "Grace", "Linus"), 1):
        yield {"id": number, "text": f"{config['greeting']}, {name}"}


def check(config):
    """Why the configuration does not work, or None."""
    return None if config.get("greeting") else "greeting is missing"


def launch(arguments):
    parser = argparse.ArgumentParser(prog="source-example")
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("spec", "check", "discover", "read"):
        command = commands.add_parser(name)
        command.add_argument("--config", required=name != "spec")
        command.add_argument("--catalog", required=name == "read")
        command.add_argument("--state")
    options = parser.parse_args(arguments)
    if options.command == "spec":
        emit("SPEC", "spec", {"connectionSpecification": SPECIFICATION})
        return 0
    config = load(options.config)
    problem = check(config)
    if options.command == "check":
        status = {"status": "FAILED", "message": problem} if problem else {"status": "SUCCEEDED"}
        emit("CONNECTION_STATUS", "connectionStatus", status)
        return 0
    if problem:
        error = {"message": problem, "failure_type": "config_error"}
        emit("TRACE", "trace", {"type": "ERROR", "emitted_at": time.time() * 1000, "error": error})
        return 1
    if options.command == "discover":
        streams = [
            {"name": name, "json_schema": schema, "supported_sync_modes": ["full_refresh"]}
            for name, schema in STREAMS.items()
        ]
        emit("CATALOG", "catalog", {"streams": streams})
        return 0
    for entry in load(options.catalog)["streams"]:
        stream = entry["stream"]["name"]
        for data in records(stream, config):
            emit("RECORD", "record", {"stream": stream, "data": data, "emitted_at": int(time.time() * 1000)})
    return 0
