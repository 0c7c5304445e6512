"""compressed-tensors that OneSec exports: the package's own bits, and transformers' own logits."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from onesec.backend.cpu import CpuBackend
from onesec.core.gear import UNIFORM
from onesec.export import export_compressed, open_outgoing
from onesec.export.compressed import packed_parts
from onesec.model.checkpoints import open_checkpoint
from onesec.model.hf_config import hf_config
from onesec.model.safetensors import SafetensorsFile, SafetensorsWriter

pytest.importorskip("torch", reason="torch is not installed: see tests/export")
pytest.importorskip("compressed_tensors", reason="see tests/export")
pytest.importorskip("transformers", reason="see tests/export")
import torch
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from compressed_tensors.quantization.utils import calculate_qparams
from engine_run import tell
from fixtures import GOLDEN_DIR
from transformers import AutoConfig, AutoModelForCausalLM, CompressedTensorsConfig

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("default")]


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [4, 8])
def test_same_bits_as_the_package(bits: int, symmetric: bool) -> None:
    rng = np.random.default_rng(bits)
    matrix = rng.standard_t(3, (48, 128)).astype(np.float32)
    matrix[:8, :32] = np.abs(matrix[:8, :32])
    args = QuantizationArgs(num_bits=bits, symmetric=symmetric, strategy="group", group_size=32)
    scheme = QuantizationScheme(targets=["Linear"], weights=args)
    weight = torch.from_numpy(matrix)
    groups = weight.reshape(48, 4, 32)
    scale, zero = calculate_qparams(groups.amin(-1), groups.amax(-1), args)
    scale = scale.to(torch.bfloat16)
    state = {"weight": weight, "weight_scale": scale.to(torch.float32), "weight_zero_point": zero}
    theirs = BaseCompressor.get_value_from_registry("pack-quantized").compress(state, scheme)
    theirs["weight_scale"] = scale.view(torch.int16)
    ours = {n: a for n, a, _ in packed_parts("m", matrix, bits, symmetric=symmetric)}
    assert {f"m.{name}" for name in theirs} == set(ours)
    for name, tensor in theirs.items():
        array = ours[f"m.{name}"]
        expected = tensor.numpy()
        np.testing.assert_array_equal(array.view(expected.dtype), expected, err_msg=name)


@pytest.mark.parametrize(("bits", "symmetric"), [(4, True), (4, False), (8, True)])
@pytest.mark.parametrize("name", ["llama2", "llama3", "qwen2", "qwen3", "phi3", "gemma2"])
def test_transformers_runs_it_as_this_engine_does(
    name: str, bits: int, symmetric: bool, tmp_path: Path
) -> None:
    """Scales in float32, so that the package opens the weights to float32 and not to bfloat16."""
    folder = Path(shutil.copytree(GOLDEN_DIR / name, tmp_path / "model"))
    out = tmp_path / "out"
    with open_outgoing(folder) as outgoing:
        export_compressed(outgoing, lambda _: None, out, bits=bits, symmetric=symmetric)
    with SafetensorsFile(out / "model.safetensors") as file:
        tensors = dict(file.tensors)
        with SafetensorsWriter(
            out / "model.safetensors", max_tensors=len(tensors), metadata={"format": "pt"}
        ) as rewritten:
            for stored, tensor in tensors.items():
                scale = stored.endswith("weight_scale")
                tag = "bf16" if tensor.dtype == "bf16" and not scale else None
                rewritten.add(stored, tensor.float32() if scale else tensor.data, tag)
    values = json.loads((out / "config.json").read_text())
    values.pop("torch_dtype", None)
    (out / "config.json").write_text(json.dumps(values | {"dtype": "float32"}))
    tokens = np.random.default_rng(0).integers(3, values["vocab_size"], 40)
    with open_checkpoint(out) as checkpoint:
        engine = CpuBackend.load(
            checkpoint, context_tokens=64, planes=False, reference=True, kv_dtype="f32"
        )
        (ours,) = tell(engine, UNIFORM[16], [tokens.astype(np.int32)])
        engine.close()
    model = AutoModelForCausalLM.from_pretrained(
        out,
        dtype=torch.float32,
        attn_implementation="eager",
        quantization_config=CompressedTensorsConfig(run_compressed=False),
    )
    with torch.no_grad():
        theirs = model(torch.from_numpy(tokens)[None]).logits[0].float().numpy()
    assert np.abs(ours - theirs).max() < 1e-3 * theirs.std()


@pytest.mark.parametrize("name", ["gemma2", "gemma3", "llama2", "phi3", "qwen3"])
def test_transformers_opens_a_config_that_is_made_anew(name: str, tmp_path: Path) -> None:
    with open_checkpoint(GOLDEN_DIR / name) as checkpoint:
        values = hf_config(checkpoint.config, tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(values))
    config = AutoConfig.from_pretrained(tmp_path)
    assert config.num_hidden_layers == checkpoint.config.num_layers
    scalar = getattr(config, "query_pre_attn_scalar", checkpoint.config.head_dim)
    assert scalar**-0.5 == checkpoint.config.attention_scale
