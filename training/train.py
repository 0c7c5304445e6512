"""Trains the network on token arrays: resumable, with a progress line and a loss curve.

It must not know what the text says, only which tokens the assistant speaks.

    python -m training.train --data DATA.npz --out DIR
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .circuits import lay
from .data import TokenData
from .model import LanguageModel, ModelConfig
from .muon import Muon


@dataclass(frozen=True)
class TrainConfig:
    """How long (whatever ends first, steps or minutes) and how hard to train.

    Minutes are of processor time, all threads busy: on a shared machine they last longer.
    """

    steps: int = 5000
    minutes: float = 100.0
    batch_tokens: int = 6144
    learning_rate: float = 4e-3
    warmup: int = 60
    weight_decay: float = 0.05
    prompt_share: float = 0.1
    optimizer: str = "muon"
    seed: int = 0
    threads: int = 2
    compile: bool = True
    save_every_s: float = 90.0


def plan_batches(data: TokenData, config: TrainConfig) -> list[list[int]]:
    """Documents of like length in batches of about `batch_tokens`; short ones open the training."""
    rng = np.random.default_rng(config.seed)
    lengths = np.diff(data.starts)
    order = rng.permutation(len(lengths))
    batches: list[list[int]] = []
    for pool in np.array_split(order, max(1, len(order) // 4000)):
        pool = pool[np.argsort(lengths[pool], kind="stable")]
        batch: list[int] = []
        for index in pool.tolist():
            if batch and (len(batch) + 1) * lengths[index] > config.batch_tokens:
                batches.append(batch)
                batch = []
            batch.append(index)
        batches.append(batch)
    shuffled = [batches[i] for i in rng.permutation(len(batches))]
    opening = [b for b in shuffled if lengths[b[-1]] <= 128][: int(0.06 * config.steps)]
    middle = [b for b in shuffled if 128 < lengths[b[-1]] <= 224][: int(0.08 * config.steps)]
    first = opening + middle
    taken = {id(b) for b in first}
    found = first + [b for b in shuffled if id(b) not in taken]
    return [found[i % len(found)] for i in range(config.steps)]


def make_batch(
    data: TokenData, batch: Sequence[int], share: float, rng: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs [rows, length], the flat positions that are learned from, and their targets.

    Every token that the assistant speaks is learned, and a random `share` of the others.
    """
    lengths = [int(data.starts[i + 1] - data.starts[i]) for i in batch]
    width = -(-(max(lengths) - 1) // 16) * 16
    inputs = np.zeros((len(batch), width), np.int64)
    targets = np.zeros((len(batch), width), np.int64)
    learned = np.zeros((len(batch), width), bool)
    for row, (index, length) in enumerate(zip(batch, lengths, strict=True)):
        start = data.starts[index]
        tokens = data.tokens[start : start + length]
        inputs[row, : length - 1] = tokens[:-1]
        targets[row, : length - 1] = tokens[1:]
        spoken = data.spoken[start + 1 : start + length] > 0
        learned[row, : length - 1] = spoken | (rng.random(length - 1) < share)
    flat = np.flatnonzero(learned)
    return (
        torch.from_numpy(inputs),
        torch.from_numpy(flat),
        torch.from_numpy(targets.reshape(-1)[flat]),
    )


def make_optimizers(model: LanguageModel, config: TrainConfig) -> list[torch.optim.Optimizer]:
    """AdamW; with `muon`, the layers' matrices are trained by Muon instead."""
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and ".layers." in n]
    inside = {id(p) for p in matrices}
    rest = [p for p in model.parameters() if id(p) not in inside]
    adam = {"lr": config.learning_rate, "betas": (0.9, 0.95), "fused": True}
    if config.optimizer == "adamw":
        groups = [
            {"params": matrices, "weight_decay": config.weight_decay},
            {"params": rest, "weight_decay": 0.0},
        ]
        return [torch.optim.AdamW(groups, **adam)]
    muon = Muon(matrices, config.learning_rate, config.weight_decay)
    return [muon, torch.optim.AdamW(rest, weight_decay=0.0, **adam)]


def multiplies_bfloat16() -> bool:
    """Whether this processor has instructions for bfloat16: without, float32 is far quicker."""
    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))


def progress(step: int, seconds: float, config: TrainConfig) -> float:
    """The share of the training that is done, by steps or by time, 0 to 1."""
    return min(1.0, max(step / config.steps, seconds / (60 * config.minutes)))


def rate(step: int, done: float, config: TrainConfig) -> float:
    """The learning rate's factor: linear warm-up, level, "
    "then straight down over the second half."""
    return min((step + 1) / config.warmup, 1.0, 0.02 + 0.98 * 2 * (1 - done))


def save_checkpoint(
    path: Path,
    model: nn.Module,
    optimizers: Sequence[torch.optim.Optimizer],
    step: int,
    spent: tuple[int, float],
    curve: Sequence[tuple[int, int, float, float]],
) -> None:
    """Write everything that a resumed run needs, all or nothing; `spent`: tokens, seconds."""
    state = {
        "model": model.state_dict(),
        "optimizers": [o.state_dict() for o in optimizers],
        "step": step,
        "spent": spent,
        "curve": list(curve),
    }
    torch.save(state, path.with_suffix(".tmp"))
    os.replace(path.with_suffix(".tmp"), path)


def save_curve(folder: Path, curve: Sequence[tuple[int, int, float, float]]) -> None:
    """The loss curve as loss.csv and loss.svg."""
    with (folder / "loss.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["step", "tokens", "seconds", "loss"])
        writer.writerows([s, t, round(w, 1), round(v, 4)] for s, t, w, v in curve)
    if len(curve) < 2:
        return
    last = curve[-1][0]
    top = max(v for *_, v in curve)
    low = math.log(max(1e-3, min(v for *_, v in curve)))
    span = max(1e-6, math.log(top) - low)
    points = " ".join(
        f"{50 + 540 * s / last:.1f},{280 - 250 * (math.log(max(v, 1e-3)) - low) / span:.1f}"
        for s, _, _, v in curve
    )
    (folder / "loss.svg").write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 620 320" font-family="sans-serif" '
        'font-size="12"><rect width="620" height="320" fill="white"/>'
        '<path d="M50 20V280H600" fill="none" stroke="#888"/>'
        f'<polyline points="{points}" fill="none" stroke="#1668b8" stroke-width="1.5"/>'
        f'<text x="50" y="300">0</text><text x="540" y="300">{last} steps</text>'
        f'<text x="8" y="34">{top:.2f}</text><text x="8" y="284">{math.exp(low):.3f}</text>'
        '<text x="60" y="18">loss (log scale)</text></svg>\n'
    )


def train(
    data: TokenData, shape: ModelConfig, config: TrainConfig, out: Path, start: Path | None = None
) -> LanguageModel:
    """Train, or go on training, and leave `checkpoint.pt`, `loss.csv` and `loss.svg` in `out`.

    A fresh training takes the weights of the folder `start`, where one is given.
    """
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    model = LanguageModel(shape)
    if start:
        weights = torch.load(start / "checkpoint.pt", weights_only=True)["model"]
        model.load_state_dict(weights)
    else:
        lay(model)
    optimizers = make_optimizers(model, config)
    path = out / "checkpoint.pt"
    first, spent, curve = 0, (0, 0.0), []
    if path.exists():
        state = torch.load(path, weights_only=True)
        model.load_state_dict(state["model"])
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        first, spent = state["step"], state["spent"]
        curve = [tuple(point) for point in state["curve"]]
        print(f"resumed at step {first}", flush=True)
    (out / "model_config.json").write_text(json.dumps(shape.to_dict(), indent=2) + "\n")
    hidden = torch.compile(model.hidden, dynamic=True) if config.compile else model.hidden
    batches = plan_batches(data, config)
    half = multiplies_bfloat16()
    begun, saved_at = time.process_time(), time.monotonic()
    seen, seconds, losses = spent[0], spent[1], []
    model.train()
    for step in range(first, config.steps):
        done = progress(step, seconds, config)
        rng = np.random.default_rng((config.seed, step))
        inputs, where, targets = make_batch(data, batches[step], config.prompt_share, rng)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = config.learning_rate * rate(step, done, config)
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            states = hidden(inputs).flatten(0, 1)[where]
            logits = F.linear(states, model.model.embed_tokens.weight)
        loss = F.cross_entropy(logits.float(), targets)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        seen += inputs.numel()
        seconds = spent[1] + (time.process_time() - begun) / config.threads
        losses.append(loss.item())
        last = progress(step + 1, seconds, config) >= 1.0
        if (step + 1) % 20 == 0 or last:
            mean = sum(losses) / len(losses)
            curve.append((step + 1, seen, seconds, mean))
            speed = (seen - spent[0]) / (seconds - spent[1])
            left = seconds * (1 / progress(step + 1, seconds, config) - 1)
            print(
                f"step {step + 1}/{config.steps}  loss {mean:.4f}  {speed:.0f} tokens/s  "
                f"{left / 60:.1f} min left",
                flush=True,
            )
            losses = []
        if time.monotonic() - saved_at > config.save_every_s or last:
            save_checkpoint(path, model, optimizers, step + 1, (seen, seconds), curve)
            save_curve(out, curve)
            saved_at = time.monotonic()
        if last:
            break
    return model


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=TrainConfig.steps)
    parser.add_argument("--minutes", type=float, default=TrainConfig.minutes, help="of all cores")
    parser.add_argument("--batch-tokens", type=int, default=TrainConfig.batch_tokens)
    parser.add_argument("--learning-rate", type=float, default=TrainConfig.learning_rate)
    parser.add_argument("--optimizer", choices=("muon", "adamw"), default=TrainConfig.optimizer)
    parser.add_argument("--layers", type=int, default=ModelConfig.num_hidden_layers)
    parser.add_argument("--ffn", type=int, default=ModelConfig.intermediate_size)
    parser.add_argument("--start", type=Path, help="a training folder whose weights to begin with")
    parser.add_argument("--seed", type=int, default=TrainConfig.seed, help="order of the text")
    parser.add_argument("--no-compile", action="store_true")
    args = parser.parse_args()
    shape = ModelConfig(num_hidden_layers=args.layers, intermediate_size=args.ffn)
    config = TrainConfig(
        steps=args.steps,
        minutes=args.minutes,
        batch_tokens=args.batch_tokens,
        learning_rate=args.learning_rate,
        optimizer=args.optimizer,
        compile=not args.no_compile,
        seed=args.seed,
    )
    train(TokenData.load(args.data), shape, config, args.out, args.start)


if __name__ == "__main__":
    main()
