"""Hostile quantised folders, headers and payloads: one typed error each, whatever they say."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import quantized_folders as forms
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onesec.core.errors import CorruptFile, OneSecError, UnsupportedModel
from onesec.model.checkpoints import open_checkpoint

_PACKED = {"num_bits": 4, "type": "int", "group_size": 16, "symmetric": False}
_FLOAT8 = {"num_bits": 8, "type": "float", "strategy": "channel"}
SEEDS: dict[str, tuple[dict[str, Any], forms.Maker]] = {
    "gptq": (
        {"quant_method": "gptq", "bits": 4, "group_size": 16, "desc_act": True},
        forms.gptq(ordered=True),
    ),
    "awq": ({"quant_method": "awq", "bits": 4, "group_size": 16}, forms.awq()),
    "packed": (
        forms.compressed_tensors_config("pack-quantized", **_PACKED),
        forms.pack_quantized(symmetric=False),
    ),
    "int8": (
        forms.compressed_tensors_config("int-quantized", num_bits=8, symmetric=False),
        forms.plain_quantized(symmetric=False),
    ),
    "float8": (
        forms.compressed_tensors_config("float-quantized", **_FLOAT8),
        forms.plain_quantized("f8"),
    ),
}
MODULE = "model.layers.0.mlp.down_proj"
_WRONG = (  # values that no key may have
    ("null-in-list", [None]),
    ("negative", -7),
    ("fraction", 4.5),
    ("huge", 1 << 80),
    ("text", "x" * 300),
    ("object", {"a": {"b": []}}),
)
_KEYS = {
    "gptq": ("bits", "group_size", "desc_act", "checkpoint_format", "dynamic"),
    "awq": ("bits", "group_size", "version", "zero_point"),
    "packed": ("config_groups", "format", "sparsity_config", "transform_config"),
    "weights": ("num_bits", "type", "group_size", "symmetric", "block_structure"),
}
# An object without a format is dense; one without groups transforms nothing.
_ALLOWED = {("packed", f"{key}_config", "object") for key in ("sparsity", "transform")}


def _configs() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for form, keys in _KEYS.items():
        seed = "packed" if form == "weights" else form
        for key in keys:
            for what, value in _WRONG:
                if (form, key, what) in _ALLOWED:
                    continue
                config = json.loads(json.dumps(SEEDS[seed][0]))
                place = config
                if form == "weights":
                    place = config["config_groups"]["group_0"]["weights"]
                place[key] = value
                yield f"{form}-{key}-{what}", seed, config
    for method in (None, 7, [], "GPTQ" * 100, "exl2"):
        yield f"method-{str(method)[:8]}", "gptq", {"quant_method": method}


def _spoilt(stored: forms.Stored, part: str) -> Iterator[tuple[str, forms.Stored]]:
    """The matrix with one part missing, of another shape or of another dtype."""
    array, tags = stored.parts[part], stored.dtypes

    def with_part(value: Any, tag: str | None = None) -> forms.Stored:
        parts = {name: a for name, a in stored.parts.items() if name != part}
        kept = {name: t for name, t in tags.items() if name != part}
        if value is None:
            return forms.Stored(parts, stored.values, kept)
        return forms.Stored(
            {**parts, part: value}, stored.values, {**kept, **({part: tag} if tag else {})}
        )

    tag = tags.get(part)
    yield "missing", with_part(None)
    yield "empty", with_part(array[:0], tag)
    yield "longer", with_part(np.concatenate([array, array[:1]]), tag)
    yield "deeper", with_part(array[None, None], tag)
    yield "float64", with_part(array.astype(np.float64))
    yield "bool", with_part(array.astype(bool))
    if array.ndim == 2 and array.shape[0] != array.shape[1] and 1 not in array.shape:
        yield "turned", with_part(np.ascontiguousarray(array.T), tag)


def _payloads(stored: forms.Stored, part: str) -> Iterator[tuple[str, Any]]:
    """Values of a part that its shape and dtype allow and its meaning does not."""
    array = stored.parts[part].copy()
    if part == "g_idx":
        for what, value in (("beyond", 1 << 30), ("negative", -2), ("by-one", 4)):
            array[5] = value
            yield what, array.copy()
    elif part == "weight_shape":
        for what, shape in (
            ("negative", [-32, -64]),
            ("huge", [1 << 62, 1 << 62]),
            ("zero", [32, 0]),
            ("wider", [32, 72]),
            ("taller", [40, 64]),
            ("swapped", [64, 32]),
        ):
            yield what, np.array(shape, np.int64)
    elif part in ("scales", "weight_scale"):
        flat = array.reshape(-1)
        nothing = {"bf16": 0x7FC0}.get(stored.dtypes.get(part, ""), np.nan)
        endless = {"bf16": 0x7F80}.get(stored.dtypes.get(part, ""), np.inf)
        for what, value in (("nan", nothing), ("infinite", endless)):
            flat[0] = value
            yield what, array.copy()
    elif part == "weight" and stored.dtypes:
        array[3, 3] = 0x7F
        yield "nan", array


@cache
def _matrix(form: str) -> forms.Stored:
    return SEEDS[form][1](np.random.default_rng(3), *forms.LINEAR["mlp.down_proj"])


def _tensors() -> Iterator[tuple[str, str, forms.Stored]]:
    for form in SEEDS:
        stored = _matrix(form)
        for part in stored.parts:
            for what, spoilt in _spoilt(stored, part):
                yield f"{form}-{part}-{what}", form, spoilt
            for what, array in _payloads(stored, part):
                parts = {**stored.parts, part: array}
                changed = forms.Stored(parts, stored.values, stored.dtypes)
                yield f"{form}-{part}-holds-{what}", form, changed


CONFIGS, TENSORS = list(_configs()), list(_tensors())


def _read(folder: Path) -> None:
    with open_checkpoint(folder) as checkpoint:
        for name in checkpoint.matrix_names():
            checkpoint.check_finite(name, checkpoint.matrix(name))


def _check(folder: Path) -> None:
    with pytest.raises((CorruptFile, UnsupportedModel)) as caught:
        _read(folder)
    assert folder.name in str(caught.value)
    assert caught.value.hint
    assert len(str(caught.value)) < 500 + len(str(folder))


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A well-formed folder of each form."""
    folders = {}
    for form, (config, maker) in SEEDS.items():
        folders[form], _ = forms.write_pair(tmp_path_factory.mktemp(form), config, maker)
        _read(folders[form])
    return folders


def test_the_corpus_is_large() -> None:
    assert len(CONFIGS) + len(TENSORS) >= 200
    assert len({name for name, *_ in CONFIGS + TENSORS}) == len(CONFIGS + TENSORS)


@pytest.mark.parametrize(("name", "form", "config"), CONFIGS, ids=[name for name, *_ in CONFIGS])
def test_hostile_quantization_configs(
    name: str, form: str, config: dict[str, Any], seeds: dict[str, Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(seeds[form], tmp_path / "quantized"))
    whole = {**forms.CONFIG, "quantization_config": config}
    (folder / "config.json").write_text(json.dumps(whole))
    _check(folder)


@pytest.mark.parametrize(("name", "form", "stored"), TENSORS, ids=[name for name, *_ in TENSORS])
def test_hostile_quantized_tensors(
    name: str, form: str, stored: forms.Stored, tmp_path: Path
) -> None:
    config, maker = SEEDS[form]

    def one_spoilt(rng: np.random.Generator, rows: int, cols: int) -> forms.Stored:
        return stored if cols == 64 else maker(rng, rows, cols)

    folder, _ = forms.write_pair(tmp_path, config, one_spoilt)
    _check(folder)


_FUZZ = settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@_FUZZ
@given(
    form=st.sampled_from(sorted(SEEDS)),
    flips=st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(1, 255)), min_size=1, max_size=4),
    head=st.booleans(),
)
def test_flipped_quantized_weights(
    form: str, flips: list[tuple[int, int]], head: bool, seeds: dict[str, Path], tmp_path: Path
) -> None:
    raw = bytearray((seeds[form] / "model.safetensors").read_bytes())
    span = 8 + int.from_bytes(raw[:8], "little") if head else len(raw)
    for at, mask in flips:
        raw[at % span] ^= mask
    shutil.copyfile(seeds[form] / "config.json", tmp_path / "config.json")
    (tmp_path / "model.safetensors").write_bytes(raw)
    with suppress(OneSecError):
        _read(tmp_path)


@_FUZZ
@given(
    form=st.sampled_from(sorted(SEEDS)),
    flips=st.lists(st.tuples(st.integers(0, 1 << 12), st.integers(1, 127)), min_size=1, max_size=3),
)
def test_flipped_quantization_configs(
    form: str, flips: list[tuple[int, int]], seeds: dict[str, Path], tmp_path: Path
) -> None:
    raw = bytearray((seeds[form] / "config.json").read_bytes())
    begin = raw.index(b"quantization_config")
    for at, mask in flips:
        raw[begin + at % (len(raw) - begin)] ^= mask
    shutil.copyfile(seeds[form] / "model.safetensors", tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_bytes(raw)
    with suppress(OneSecError):
        _read(tmp_path)
