"""Compression: from a checkpoint to gears, and what they cost. `compress` is the whole of it."""

from .pipeline import Compressed, compress
from .recipe import Recipe
from .target import Target

__all__ = ["Compressed", "Recipe", "Target", "compress"]
