"""The Airbyte protocol for connectors in plain Python."""

from .configuration import ConfigError, check_config
from .entrypoint import launch
from .messages import log, record, state, stream_status, trace_error
from .models import ConfiguredStream, Destination, Source, Stream

__all__ = [
    "ConfigError",
    "ConfiguredStream",
    "Destination",
    "Source",
    "Stream",
    "check_config",
    "launch",
    "log",
    "record",
    "state",
    "stream_status",
    "trace_error",
]
