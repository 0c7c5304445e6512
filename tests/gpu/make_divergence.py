"""Writes divergence.json: what the CPU engine's 4- and 8-bit widths lose on a text, and what of it
is the int8 activations' alone, for a GPU to be held against. Run it where the engine is compiled
and torch is, after the shipped model has changed.

    PYTHONPATH=src:tests/parity python tests/gpu/make_divergence.py
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from engine_run import tell

from onesec.backend.base import Backend, Float32Array, Int32Array
from onesec.core.gear import UNIFORM
from onesec.loading import find_model, open_tokenizer
from onesec.model.artifact import open_artifact
from onesec.model.checkpoints import open_checkpoint

ROOT = Path(__file__).parents[2]
FILE = Path(__file__).parent / "divergence.json"
SOURCE = ROOT / "training" / "onesec-mini"
TEXT = (
    "The parcel with the blue kettle left our warehouse on Monday and will arrive within three "
    "days. If it does not, write to us and we send a new one or give the money back. "
    "蓝色水壶周一已经发出，三天之内送到。如果没有收到，请联系我们，我们会重新发货或者退款。"
    "Returns are free for thirty days; batteries and opened food cannot be returned. "
    "三十天内可以免费退货，电池和已开封的食品除外。"
)


def arbitrary(width: int) -> Int32Array:
    """Tokens of no text."""
    return np.random.default_rng(width).integers(0, 3000, 150).astype(np.int32)


def divergence(backend: Backend, width: int, tokens: Int32Array, reference: Float32Array) -> float:
    """Mean KL divergence in nats of a width's next-token distributions from the reference's."""
    (logits,) = tell(backend, UNIFORM[width], [tokens], chunk=16)
    return divergence_of(logits, reference)


def divergence_of(logits: Float32Array, reference: Float32Array) -> float:
    """The same, of logits."""
    logs = [
        x - x.max(1, keepdims=True) - np.log(np.exp(x - x.max(1, keepdims=True)).sum(1)[:, None])
        for x in (reference.astype(np.float64), logits.astype(np.float64))
    ]
    return float((np.exp(logs[0]) * (logs[0] - logs[1])).sum(1).mean())


def main() -> None:
    """Measure, and write the file."""
    from onesec.backend.cpu import CpuBackend  # the compiled engine: not on every GPU machine
    from onesec.backend.gpu.backend import GpuBackend

    path = find_model("onesec-mini")
    tokens = np.array(open_tokenizer(path).encode(TEXT), dtype=np.int32)
    options = {"context_tokens": 1024, "kv_dtype": "f32", "threads": 2}
    with open_checkpoint(SOURCE) as source:
        exact = CpuBackend.load(source, planes=False, reference=True, **options)
        (reference,) = tell(exact, UNIFORM[16], [tokens], chunk=16)
        exact.close()
    with open_artifact(path) as artifact:
        packed = CpuBackend.load(artifact, **options)
        found = {str(width): divergence(packed, width, tokens, reference) for width in (4, 8)}
    with open_artifact(path) as artifact:
        plain = GpuBackend.load(
            artifact, context_tokens=1024, compute_dtype="f32", kv_dtype="f32", device="cpu"
        )
        activations: dict[str, float] = {}
        for width in (4, 8):
            (exactly,) = tell(plain, UNIFORM[width], [arbitrary(width)], chunk=16)
            activations[str(width)] = divergence(packed, width, arbitrary(width), exactly)
        plain.close()
    packed.close()
    told = {"tokens": tokens.tolist(), "kld": found, "activations": activations}
    FILE.write_text(json.dumps(told) + "\n")
    print(found, activations)


if __name__ == "__main__":
    main()
