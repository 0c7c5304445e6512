"""Export: a model out of OneSec, as a file that other engines read."""

from .compressed import export_compressed
from .gguf import export_gguf
from .source import Outgoing, open_outgoing

__all__ = ["Outgoing", "export_compressed", "export_gguf", "open_outgoing"]
