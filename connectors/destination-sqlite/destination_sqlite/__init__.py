from .destination import DestinationSqlite

__all__ = ["DestinationSqlite"]
