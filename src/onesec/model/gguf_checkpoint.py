"""A GGUF file as a Checkpoint: its keys to a ModelConfig, its tensors to canonical names.

It must not know how GGUF is spelt in bytes (gguf.py) nor a family's exceptions (architectures).
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from onesec.core.errors import CorruptFile, UnsupportedModel

from .architectures import GGUF_ARCHITECTURES, GGUFHeader
from .gguf import GGUFFile
from .jsonfile import Fields
from .tensor import check_finite
from .weights import Checkpoint

_MAX_FACTORS = 2048  # one for each pair of a head
_ROPE_FACTORS = ("rope_freqs", "rope_factors_long", "rope_factors_short")


def _header(file: GGUFFile, architecture: str) -> GGUFHeader:
    if "token_embd.weight" not in file.infos:
        raise CorruptFile(file.path, "no tensor 'token_embd.weight' is there")
    vocab = file.shape("token_embd.weight")[0]
    tokens = Fields(file.path, file.metadata, prefix="tokenizer.ggml.")
    factors: dict[str, tuple[float, ...]] = {}
    for name in _ROPE_FACTORS:
        if f"{name}.weight" in file.infos:
            count = math.prod(file.shape(f"{name}.weight"))
            if count > _MAX_FACTORS:
                raise CorruptFile(
                    file.path, f"{name} has {count} values; at most {_MAX_FACTORS} are read"
                )
            tensor = file.read(f"{name}.weight")
            check_finite(file.path, tensor)
            factors[name] = tuple(float(v) for v in tensor.float32().reshape(-1))
    bos = tokens.ids("bos_token_id", below=vocab)
    ends = (tokens.ids(f"{key}_token_id", below=vocab) for key in ("eos", "eot", "eom"))
    return GGUFHeader(
        fields=Fields(file.path, file.metadata, prefix=f"{architecture}."),
        vocab_size=vocab,
        tied="output.weight" not in file.infos,
        weights_dtype=file.dtype("token_embd.weight"),
        bos_id=bos[0] if bos else None,
        eos_ids=tuple(dict.fromkeys(token for ids in ends for token in ids)),
        rope_factors=factors,
    )


def open_gguf_checkpoint(path: Path) -> Checkpoint:
    """Open a GGUF file. Errors as for open_checkpoint."""
    file = GGUFFile(path)
    try:
        general = Fields(path, file.metadata)
        kind = general.text("general.architecture")
        architecture = GGUF_ARCHITECTURES.get(kind)
        if architecture is None or architecture.from_gguf is None or not architecture.gguf_layout:
            raise UnsupportedModel(
                f"{path}: GGUF models of the type {kind[:40]!r} are not supported.",
                hint=f"Supported: {', '.join(sorted(GGUF_ARCHITECTURES))}.",
            )
        parts = general.integer("split.count", 1, low=0, high=1 << 16)
        if parts > 1:
            raise UnsupportedModel(
                f"{path} is one of {parts} parts.", hint="Join them: llama-gguf-split --merge."
            )
        config = architecture.from_gguf(_header(file, kind))
        defaults: dict[str, Any] = {"eos_ids": config.eos_ids}
        return Checkpoint(
            config, architecture.gguf_layout, file, path=path, generation_defaults=defaults
        )
    except BaseException:
        file.close()
        raise
