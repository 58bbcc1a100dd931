"""What a connector derives from."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Stream:
    """A stream as discovered."""

    name: str
    json_schema: dict
    primary_key: list = field(default_factory=list)
    cursor: str | None = None

    def catalog(self):
        entry = {
            "name": self.name,
            "json_schema": self.json_schema,
            "supported_sync_modes": ["full_refresh"] + (["incremental"] if self.cursor else []),
            "source_defined_primary_key": [[name] for name in self.primary_key],
            "is_resumable": self.cursor is not None,
        }
        if self.cursor:
            entry.update(source_defined_cursor=True, default_cursor_field=[self.cursor])
        return entry


@dataclass(frozen=True)
class ConfiguredStream:
    """A stream of the configured catalog."""

    name: str
    namespace: str | None
    json_schema: dict
    incremental: bool
    destination_sync_mode: str
    primary_key: list

    @staticmethod
    def of(entry):
        stream = entry["stream"]
        return ConfiguredStream(
            stream["name"],
            stream.get("namespace"),
            stream.get("json_schema") or {},
            entry.get("sync_mode") == "incremental",
            entry.get("destination_sync_mode", "append"),
            [path[0] for path in entry.get("primary_key") or []],
        )


class Connector:
    # The connection specification: {"connectionSpecification": {...}, "documentationUrl": ...}.
    specification: dict = {}

    def check(self, config):
        """Returns when the configuration works; raises ConfigError or OSError when not."""
        raise NotImplementedError


class Source(Connector):
    def streams(self, config):
        """The streams that this configuration offers."""
        raise NotImplementedError

    def read(self, config, stream, state, incremental):
        """Yields ("record", data) and, where the stream has a cursor, ("state", state) after what it covers.

        `state` is the stream's last state, `{}` at first; it is given only to incremental reads.
        """
        raise NotImplementedError


class Destination(Connector):
    def write(self, config, streams, messages):
        """Takes messages in order; yields each state message once what came before it is safe."""
        raise NotImplementedError
