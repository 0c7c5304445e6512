"""Narrower layers: what leaving out FFN neurons, or groups of heads, would cost and save at most.

Without training. A neuron counts as E[a²]·|w|², its activation on other text times its column of
`down`; a group of heads likewise, with its columns of `o`. The least of them are left out, the same
share in every layer, or wherever in the model they are least beside their layer's whole output.
What remains is rounded to the planes (calibrated): so a row says what a gear would lose that reads
only so long a prefix of sorted neurons. Beside it the weights that a step no longer reads: the most
that its time can fall.

    PYTHONPATH=src python -m bench.narrower MODEL --text FILE --out rows.json
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.quantize import WINDOW, Floats, Planes, Rounded, Rounding, observed, tokens_of
from onesec.backend.cpu import CpuBackend
from onesec.compress.calibrate import repack
from onesec.compress.evaluate import Subject, measure
from onesec.core.gear import UNIFORM
from onesec.loading import find_model
from onesec.machine import describe
from onesec.model.checkpoints import open_checkpoint
from onesec.model.weights import Checkpoint

Masks = list[npt.NDArray[np.bool_]]  # of each layer: which neurons, or groups of heads, stay
CALIBRATION_TOKENS = 4096
SHARES = (0.02, 0.05, 0.1, 0.2, 0.3)  # of the neurons


def importance(source: Checkpoint, grams: dict[str, Floats], kind: str, group: int) -> list[Floats]:
    """Of each layer: what each group of columns of `kind` brings to the output, as a share."""
    found = []
    for layer in range(source.config.num_layers):
        name = f"layers.{layer}.{kind}"
        weights = np.concatenate([s.float32() for s in source.matrix(name)])
        reads = np.einsum("bii->bi", grams[name]).reshape(-1)[: weights.shape[1]]
        brings = (reads * np.square(weights).sum(axis=0)).reshape(-1, group).sum(axis=1)
        found.append((brings / brings.sum()).astype(np.float32))
    return found


def least_out(values: list[Floats], share: float, *, everywhere: bool) -> Masks:
    """What stays when the least `share` is left out: of all layers together, or of each."""
    if everywhere:
        border = float(np.quantile(np.concatenate(values), share))
        return [layer > border for layer in values]
    return [layer > float(np.quantile(layer, share)) for layer in values]


def without(rounding: Rounding, kind: str, masks: Masks) -> Rounding:
    """The rounding, with zeros for what is left out (of `down` or `o`: of what is read)."""

    def rounded(name: str, weights: Floats) -> Floats:
        values = rounding(name, weights)
        if name.endswith(f".{kind}"):
            values = values * masks[int(name.split(".")[1])]
        return values

    return rounded


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--text", type=Path, required=True, help="text, or token ids (.npy)")
    parser.add_argument("--check-tokens", type=int, default=8192)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    path = find_model(asked.model)
    tokens = tokens_of(path, asked.text)
    check, rest = tokens[: asked.check_tokens], tokens[asked.check_tokens :][:CALIBRATION_TOKENS]
    source = open_checkpoint(path)
    config = source.config
    backend = CpuBackend.load(
        source, context_tokens=16 * WINDOW, threads=asked.threads, reference=True
    )
    grams = observed(backend, rest)
    repack(backend, rest)
    planes = Planes(backend, source)
    matrices = {
        name: sum(s.data.size for s in source.matrix(name)) for name in backend.matrix_names
    }
    step_weights = sum(matrices.values())
    head_group = config.head_dim * (config.num_heads // config.num_kv_heads)
    rows: list[dict[str, Any]] = []

    def tell(what: str, kind: str, kept: Masks, group: int, width: int) -> None:
        masks = [np.repeat(layer, group) for layer in kept]
        gone = 0.0
        for i, layer in enumerate(kept):
            share = 1.0 - float(layer.mean())
            parts = (
                ("gate_up" if config.gated else "up", "down") if kind == "down" else ("qkv", "o")
            )
            gone += share * sum(matrices[f"layers.{i}.{part}"] for part in parts)
        rounding = without(planes.rounding(width), kind, masks)
        narrower = CpuBackend.load(
            Rounded(source, rounding),  # type: ignore[arg-type]
            context_tokens=WINDOW,
            threads=asked.threads,
            planes=False,
            reference=True,
        )
        (quality,), _ = measure(
            [Subject(narrower, UNIFORM[16])],
            check,
            window=WINDOW,
            reference=Subject(backend, UNIFORM[16]),
        )
        narrower.close()
        assert quality.divergence is not None
        kld, top = quality.divergence.kld_mean, quality.divergence.same_top
        rows.append(
            {"what": what, "width": width, "weights_gone": gone / step_weights, "kld": kld.value,
             "kld_se": kld.se, "same_top": top.value}
        )  # fmt: skip
        print(
            f"{width} bits  {what:<34} {gone / step_weights:6.1%} of the weights gone  "
            f"KLD {kld.value:.4f} ± {kld.se:.4f}  same top {top.value:.2%}",
            flush=True,
        )

    neurons = importance(source, grams, "down", 1)
    heads = importance(source, grams, "o", head_group)
    for width in (4, 8):
        tell("all", "down", [np.ones_like(layer, np.bool_) for layer in neurons], 1, width)
        for share in SHARES:
            for everywhere in (False, True):
                kept = least_out(neurons, share, everywhere=everywhere)
                where = "of the model" if everywhere else "of each layer"
                tell(f"{share:.0%} of the neurons, {where}", "down", kept, 1, width)
        fewest = 1.0 / sum(len(layer) for layer in heads)
        for count in (1, 2, 4):
            kept = least_out(heads, count * fewest, everywhere=True)
            tell(f"about {count} groups of heads", "o", kept, head_group, width)
    if asked.out:
        asked.out.write_text(
            json.dumps({"model": path.name, "machine": describe(), "rows": rows}, indent=1) + "\n"
        )
    source.close()


if __name__ == "__main__":
    main()
