"""The command line that Airbyte calls."""

import argparse
import json
import sys
import traceback

from . import messages
from .configuration import ConfigError, check_config
from .models import ConfiguredStream, Source


class Arguments(argparse.ArgumentParser):
    def error(self, message):
        raise ConfigError(message)


def parse(connector, arguments):
    parser = Arguments(prog="main.py", add_help=True)
    commands = parser.add_subparsers(dest="command", required=True)
    is_source = isinstance(connector, Source)
    for name in ["spec", "check"] + (["discover", "read"] if is_source else ["write"]):
        command = commands.add_parser(name)
        # The platform passes these to every command, with or without need.
        command.add_argument("--debug", action="store_true")
        command.add_argument("--config", required=name != "spec")
        command.add_argument("--catalog", required=name in ("read", "write"))
        command.add_argument("--state")
    return parser.parse_args(arguments)


def load(path, what):
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except OSError as error:
        raise ConfigError(f"cannot read the {what} {path}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"the {what} {path} is not JSON: {error}") from error


def configured(path):
    document = load(path, "catalog")
    try:
        return [ConfiguredStream.of(entry) for entry in document["streams"]]
    except (KeyError, TypeError, IndexError) as error:
        raise ConfigError(f"the catalog {path} is not a configured catalog: {error!r}") from error


def states(path):
    """The state of each stream by name."""
    if not path:
        return {}
    found = {}
    document = load(path, "state")
    try:
        for message in document:
            if message.get("type") == "STREAM":
                found[message["stream"]["stream_descriptor"]["name"]] = message["stream"].get("stream_state") or {}
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"the state {path} is not a list of stream states: {error!r}") from error
    return found


def read(source, config, catalog, known):
    """Reads every stream; one that fails does not keep the others from being read."""
    available = {stream.name: stream for stream in source.streams(config)}
    failed = False
    for entry in catalog:
        stream = available.get(entry.name)
        if stream is None:
            raise ConfigError(f"the catalog names the unknown stream {entry.name}")
        incremental = entry.incremental and stream.cursor is not None
        messages.stream_status(entry.name, "STARTED")
        count = 0
        try:
            for kind, value in source.read(
                config, stream, known.get(entry.name, {}) if incremental else {}, incremental
            ):
                if kind == "state":
                    messages.state(entry.name, value, count)
                    count = 0
                    continue
                if count == 0:
                    messages.stream_status(entry.name, "RUNNING")
                count += 1
                messages.record(entry.name, value)
        except (ConfigError, OSError, ValueError) as error:
            messages.trace_error(f"{entry.name}: {error}", repr(error), "config_error", traceback.format_exc())
            messages.stream_status(entry.name, "INCOMPLETE")
            failed = True
            continue
        messages.stream_status(entry.name, "COMPLETE")
    return 1 if failed else 0


def incoming(stream):
    """The messages of stdin; what is no JSON object is refused by its line number."""
    for number, line in enumerate(stream, 1):
        if not line.strip():
            continue
        try:
            message = json.loads(line)
            message["type"]
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"line {number} of stdin is not a message: {error!r}") from error
        yield message


def run(connector, options):
    if options.command == "spec":
        messages.emit({"type": "SPEC", "spec": {"protocol_version": "0.2.0", **connector.specification}})
        return 0
    if options.command == "check":
        try:
            connector.check(check_config(load(options.config, "configuration"), connector.specification))
            status = {"status": "SUCCEEDED"}
        except (ConfigError, OSError) as error:
            status = {"status": "FAILED", "message": str(error)}
        messages.emit({"type": "CONNECTION_STATUS", "connectionStatus": status})
        return 0
    config = check_config(load(options.config, "configuration"), connector.specification)
    if options.command == "discover":
        streams = [stream.catalog() for stream in connector.streams(config)]
        messages.emit({"type": "CATALOG", "catalog": {"streams": streams}})
        return 0
    catalog = configured(options.catalog)
    if options.command == "read":
        return read(connector, config, catalog, states(options.state))
    for message in connector.write(config, catalog, incoming(sys.stdin)):
        messages.emit(message)
        sys.stdout.flush()
    return 0


def launch(connector, arguments):
    """Runs one command; returns the exit status. Every failure is a TRACE message too."""
    try:
        return run(connector, parse(connector, arguments))
    except ConfigError as error:
        messages.trace_error(str(error), repr(error), "config_error")
    except Exception as error:  # the platform shows only messages: an exception on stderr alone would be lost
        messages.trace_error("the connector failed", repr(error), "system_error", traceback.format_exc())
    finally:
        sys.stdout.flush()
    return 1
