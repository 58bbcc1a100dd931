"""The messages, one JSON object a line on stdout."""

import json
import sys
import time


def emit(message):
    # One write a message: a line is never torn, also where a thread writes another.
    sys.stdout.write(json.dumps(message, ensure_ascii=False, separators=(",", ":")) + "\n")


def now():
    """Milliseconds since 1970."""
    return int(time.time() * 1000)


def log(text, level="INFO"):
    emit({"type": "LOG", "log": {"level": level, "message": text}})


def record(stream, data, emitted_at=None, namespace=None):
    body = {"stream": stream, "data": data, "emitted_at": now() if emitted_at is None else emitted_at}
    if namespace:
        body["namespace"] = namespace
    emit({"type": "RECORD", "record": body})


def state(stream, stream_state, count=None):
    """The state of one stream; `count` is the number of records since its last one."""
    body = {
        "type": "STREAM",
        "stream": {"stream_descriptor": {"name": stream}, "stream_state": stream_state},
    }
    if count is not None:
        body["sourceStats"] = {"recordCount": float(count)}
    emit({"type": "STATE", "state": body})


def stream_status(stream, status):
    descriptor = {"name": stream}
    body = {"stream_descriptor": descriptor, "status": status}
    emit({"type": "TRACE", "trace": {"type": "STREAM_STATUS", "emitted_at": float(now()), "stream_status": body}})


def trace_error(message, internal, kind, stack=None):
    """`kind` is config_error, transient_error or system_error."""
    body = {"message": message, "internal_message": internal, "failure_type": kind}
    if stack:
        body["stack_trace"] = stack
    emit({"type": "TRACE", "trace": {"type": "ERROR", "emitted_at": float(now()), "error": body}})
