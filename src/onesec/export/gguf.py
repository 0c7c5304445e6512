"""GGUF out: a model as one GGUF file, with its tokenizer and chat templates.

It must not know where weights come from (source.py) nor GGUF's bytes (model/gguf_writer.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from onesec.core.errors import InvalidRequest, UnsupportedModel
from onesec.core.paths import path_of
from onesec.model.gguf_encode import block_format, encode
from onesec.model.gguf_keys import gguf_keys
from onesec.model.gguf_writer import GGUFWriter, OutgoingTensor
from onesec.model.partfile import disk_errors
from onesec.model.tokenizer_folder import TokenizerFiles
from onesec.model.tokenizer_gguf_out import tokenizer_keys
from onesec.model.unbinding import matrix_parts, matrix_values, vector_parts

from .compressed import way_out
from .source import Outgoing

FILE_TYPES = {"f16": 1, "q4_0": 2, "q8_0": 7, "q4_k": 14}  # general.file_type, llama.cpp's numbers
_QUANTIZATION_VERSION = 2


def export_gguf(
    outgoing: Outgoing,
    tokenizer: TokenizerFiles,
    path: Path,
    kind: str,
    *,
    name: str,
    progress: Callable[[float], None] | None = None,
) -> tuple[str, ...]:
    """Write a GGUF file, whole or not at all; a file at `path` is replaced. What other engines will
    miss is returned, as words.

    kind       f16, q8_0, q4_0 or q4_k. The 4-bit kinds keep the output head (and an embedding tied
               to it) in q8_0; matrices whose columns are no whole blocks are kept in the next wider
               kind (q4_k, q8_0, f16). Norms and biases are f32
    name       general.name
    progress   gets fractions of 1

    Raises UnsupportedModel where GGUF cannot say the model or its tokenizer, CorruptFile for
    weights that are not finite, InvalidRequest for a folder or a device at `path`, ModelError where
    the disk refuses.

    >>> export_gguf(outgoing, tokenizer.files(path), Path("m.gguf"), "q8_0", name="m")
    ... # doctest: +SKIP
    """
    config, path = outgoing.config, path_of(path)
    if path.is_dir():
        raise InvalidRequest(f"{path} is a folder.", hint="Name a file, such as model.gguf.")
    if path.exists() and not path.is_file():  # /dev/null would be a file from then on
        raise InvalidRequest(f"{path} is no regular file.", hint="Name one, such as model.gguf.")
    try:
        keys = gguf_keys(config, path)
    except UnsupportedModel as refused:
        refused.hint = way_out(outgoing, path)
        raise
    ends = dict.fromkeys((*tokenizer.eos_ids, *config.eos_ids))  # config.json's are the model's
    words, lost = tokenizer_keys(replace(tokenizer, eos_ids=tuple(ends)), config.vocab_size)
    metadata: dict[str, Any] = {
        **keys.metadata,
        "general.name": name,
        "general.file_type": FILE_TYPES[kind],
        "general.quantization_version": _QUANTIZATION_VERSION,
        **words,
    }
    layout = keys.architecture.gguf_layout
    assert layout is not None  # gguf_keys refuses families without one
    vectors = [
        (stored, value)
        for name_, vector in outgoing.vectors()
        for stored, value in vector_parts(layout, config, name_, vector, path)
    ]
    vectors += keys.factors.items()
    kinds: Mapping[str, str] = {
        matrix: _kind(matrix, matrix_parts(layout, config, matrix)[0][1][1], kind, outgoing)
        for matrix in outgoing.matrix_names()
    }
    tensors = [OutgoingTensor(stored, value.shape, "f32") for stored, value in vectors]
    tensors += [
        OutgoingTensor(stored, shape, kinds[matrix])
        for matrix in kinds
        for stored, shape in matrix_parts(layout, config, matrix)
    ]
    with disk_errors(path), GGUFWriter(path, metadata, tensors) as out:
        for stored, value in vectors:
            out.add(stored, value)
        for done, matrix in enumerate(kinds):
            segments = [tensor.float32() for tensor in outgoing.matrix(matrix)]
            arrays = matrix_values(layout, config, matrix, segments)
            parts = matrix_parts(layout, config, matrix)
            for (stored, _), array in zip(parts, arrays, strict=True):
                out.add(stored, _encoded(array, kinds[matrix]))
            outgoing.release(matrix)
            if progress is not None:
                progress((done + 1) / len(kinds))
    return lost


def _kind(matrix: str, cols: int, asked: str, outgoing: Outgoing) -> str:
    if matrix == "pos_embed":
        return "f32"
    is_head = matrix == "head" or (matrix == "embed" and outgoing.config.tie_embeddings)
    wider = {"q4_0": "q8_0", "q4_k": "q8_0", "q8_0": "f16"}
    kind = wider[asked] if is_head and asked.startswith("q4") else asked
    while kind in wider and cols % block_format(kind).weights:
        kind = wider[kind]
    return kind


def _encoded(array: np.ndarray[Any, np.dtype[np.float32]], kind: str) -> np.ndarray[Any, Any]:
    if kind == "f32":
        return array
    return array.astype("<f2") if kind == "f16" else encode(kind, array)
