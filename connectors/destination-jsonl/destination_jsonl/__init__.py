from .destination import DestinationJsonl

__all__ = ["DestinationJsonl"]
