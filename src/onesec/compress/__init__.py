"""Compression: from a checkpoint to gears, and what they cost. `compress` is the whole of it."""

from .pipeline import Compressed, Target, compress
from .recipe import Recipe

__all__ = ["Compressed", "Recipe", "Target", "compress"]
