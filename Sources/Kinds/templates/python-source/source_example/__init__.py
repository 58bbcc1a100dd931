from .source import launch

__all__ = ["launch"]
