"""Hugging Face folders: config.json and safetensors (one file or shards).

It must not know GGUF or artifacts. Never opens pickles (*.bin, *.pt, *.pth, *.ckpt), never imports
code from the folder.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from onesec.core.errors import CorruptFile, ModelNotFound, UnsupportedModel

from .architectures import HF_ARCHITECTURES
from .binding import TensorSource
from .folder import generation_defaults_of, resolve_inside
from .jsonfile import Fields, parse_json, read_json
from .quantized import open_quantized
from .safetensors import SafetensorsFile
from .tensor import Tensor, read_small
from .weights import Checkpoint

MAX_INDEX_BYTES = 16 << 20
MAX_SHARDS = 1024
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".h5", ".msgpack")


class SafetensorsSource:
    """The tensors of one or several safetensors files as one TensorSource."""

    def __init__(self, files: list[SafetensorsFile]) -> None:
        self._files = files
        self._of = {name: file for file in files for name in file.tensors}

    def names(self) -> Collection[str]:
        """Stored names."""
        return self._of.keys()

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape, outermost first."""
        return self.read(name).shape

    def dtype(self, name: str) -> str:
        """dtype tag."""
        return self.read(name).dtype

    def read(self, name: str) -> Tensor:
        """A view of the file."""
        return self._of[name].tensors[name]

    def release(self, name: str) -> None:
        """Drop the tensor's resident pages."""
        self._of[name].release(name)

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(file.nbytes for file in self._files)

    def close(self) -> None:
        """Close all files."""
        for file in self._files:
            file.close()


def _open_source(folder: Path) -> SafetensorsSource:
    if (folder / "model.safetensors").exists():
        real = resolve_inside(folder, "model.safetensors")
        return SafetensorsSource([SafetensorsFile(real)])
    if (folder / "model.safetensors.index.json").exists():
        return _open_shards(folder)
    if any(path.suffix in _PICKLES for path in folder.iterdir()):
        raise UnsupportedModel(
            f"{folder} holds its weights as pickles or another format that can run code; "
            "OneSec does not open those.",
            hint="Convert them where you trust them: "
            'AutoModelForCausalLM.from_pretrained(DIR).save_pretrained(OUT, "safetensors").',
        )
    raise ModelNotFound(
        f"{folder} has no model.safetensors and no model.safetensors.index.json.",
        hint="Name a Hugging Face folder, a .gguf file or an artifact.",
    )


def _open_shards(folder: Path) -> SafetensorsSource:
    path = resolve_inside(folder, "model.safetensors.index.json")
    index = parse_json(path, read_small(path, MAX_INDEX_BYTES), what="the index")
    places = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(places, dict) or not all(isinstance(v, str) for v in places.values()):
        raise CorruptFile(path, "weight_map is not an object of file names")
    shards = sorted(set(places.values()))
    if not 0 < len(shards) <= MAX_SHARDS:
        raise CorruptFile(path, f"the index names {len(shards)} files; 1 to {MAX_SHARDS} are read")
    paths = [resolve_inside(folder, shard) for shard in shards]
    for shard, real in zip(shards, paths, strict=True):
        if not shard.endswith(".safetensors"):
            raise CorruptFile(path, f"{shard[:80]!r} is not a safetensors file")
        if not real.exists():
            raise CorruptFile(path, f"the shard {shard} is missing ({len(shards)} are named)")
    files: list[SafetensorsFile] = []
    try:
        for shard, real in zip(shards, paths, strict=True):
            files.append(SafetensorsFile(real))
            named = {name for name, place in places.items() if place == shard}
            odd = sorted(files[-1].tensors.keys() ^ named)
            if odd:
                raise CorruptFile(
                    path, f"the index and {shard} disagree on {len(odd)} tensors ({odd[0][:60]!r})"
                )
    except BaseException:
        for file in files:
            file.close()
        raise
    return SafetensorsSource(files)


def open_hf(folder: Path) -> Checkpoint:
    """Open a Hugging Face folder. Errors as for open_checkpoint."""
    if not (folder / "config.json").exists():
        raise ModelNotFound(
            f"{folder} has no config.json.",
            hint="Name a Hugging Face folder, a .gguf file or an artifact.",
        )
    path = resolve_inside(folder, "config.json")
    fields = Fields(folder / "config.json", read_json(path))
    kind = fields.text("model_type", "")
    architecture = HF_ARCHITECTURES.get(kind)
    if architecture is None:
        raise UnsupportedModel(
            f"{folder}: models of the type {kind[:40]!r} are not supported.",
            hint=f"Supported: {', '.join(sorted(HF_ARCHITECTURES))}.",
        )
    quantization = fields.inner("quantization_config") or fields.inner("compression_config")
    if quantization is not None and architecture.hf_layout.conv1d:
        raise UnsupportedModel(
            f"{folder}: quantised models of the type {kind} are not read.",
            hint="Use the original checkpoint in F32, F16 or BF16, or a GGUF file.",
        )
    source: TensorSource = _open_source(folder)
    try:
        if quantization is not None:
            source = open_quantized(quantization, source, folder)
        dtypes = [source.dtype(name) for name in source.names()]
        common = max(dict.fromkeys(dtypes), key=dtypes.count, default="f32")
        config = architecture.from_hf(fields, common)
        defaults = generation_defaults_of(folder, config.vocab_size)
        config = replace(config, eos_ids=defaults.setdefault("eos_ids", config.eos_ids))
        return Checkpoint(
            config, architecture.hf_layout, source, path=folder, generation_defaults=defaults
        )
    except BaseException:
        source.close()
        raise
