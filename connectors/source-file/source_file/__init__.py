from .source import SourceFile

__all__ = ["SourceFile"]
