"""open_checkpoint: the one door to a model's original weights, in whichever format they lie.

It must not know the formats themselves (hf.py, gguf.py) nor OneSec's artifacts (artifact.py).
"""

from __future__ import annotations

from pathlib import Path

from onesec.core.errors import ModelNotFound, UnsupportedModel

from .folder import only_gguf
from .gguf_checkpoint import open_gguf_checkpoint
from .hf import open_hf
from .weights import Checkpoint


def open_checkpoint(path: str | Path) -> Checkpoint:
    """Open a Hugging Face folder or a .gguf file (or a folder with exactly one).

    Milliseconds: the weights are mapped, not read. Raises ModelNotFound, CorruptFile,
    UnsupportedModel.

    >>> with open_checkpoint("models/SmolLM2-135M") as checkpoint:  # doctest: +SKIP
    ...     checkpoint.matrix("layers.0.qkv")[0].shape
    (576, 576)
    """
    try:
        place = _locate(Path(path))
        if place.is_dir():
            return open_hf(place)
        return open_gguf_checkpoint(place)
    except OSError as exc:
        raise ModelNotFound(f"{str(path)!r} cannot be opened ({exc.strerror}).") from None


def _locate(path: Path) -> Path:
    """The folder or the .gguf file that `path` stands for."""
    if "\0" in str(path) or not path.exists():
        raise ModelNotFound(f"There is nothing at {str(path)!r}.", hint="Check the path.")
    if path.is_dir():
        return only_gguf(path) or path
    if path.suffix.lower() != ".gguf":
        raise UnsupportedModel(
            f"{path} is a file of another kind than .gguf.",
            hint="Name the folder that holds config.json and the weights.",
        )
    return path
