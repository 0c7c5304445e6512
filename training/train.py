"""Trains the network on token arrays, on a GPU where there is one: resumable, with a loss curve.

It must not know what the text says, only which tokens the assistant speaks.

    python -m training.train --data DIR --out DIR
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .batches import Ahead, Batch, BatchConfig, batches
from .circuits import lay
from .curve import Point, save_curve
from .model import LanguageModel
from .muon import Muon
from .shape import ModelConfig


@dataclass(frozen=True)
class TrainConfig:
    """How long (whatever ends first, steps or minutes) and how hard to train.

    Minutes are of processor time, all threads busy (on a shared machine they last longer); on a
    GPU, of the clock on the wall. Every `report_every` steps the loss is read and told: only then
    the device is waited for.
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
    save_every_s: float = 60.0
    report_every: int = 20
    device: str = "cpu"


def make_optimizers(
    model: LanguageModel, config: TrainConfig, half: bool
) -> list[torch.optim.Optimizer]:
    """AdamW; with `muon`, the layers' matrices are trained by Muon instead, whose products are of
    bfloat16 if `half`."""
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
    muon = Muon(matrices, config.learning_rate, config.weight_decay, half)
    return [muon, torch.optim.AdamW(rest, weight_decay=0.0, **adam)]


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether products are quicker in bfloat16: a processor without instructions for it is far
    quicker in float32."""
    if device.type == "cuda":
        return True
    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))


def loss_of(model: LanguageModel, batch: Batch, half: bool) -> Tensor:
    """The mean loss of the batch's learned positions."""
    inputs, where, targets = batch
    with torch.autocast(inputs.device.type, torch.bfloat16, enabled=half):
        states = model.hidden(inputs).flatten(0, 1).index_select(0, where)
        logits = F.linear(states, model.model.embed_tokens.weight)
    return F.cross_entropy(logits.float(), targets)


def compile_layers(model: LanguageModel, device: torch.device, half: bool) -> None:
    """Compile a layer, once for all of them and all sizes; where that fails, go without."""
    for layer in model.model.layers:
        layer.compile(dynamic=True)
    begun = time.monotonic()
    try:
        for rows, width in ((3, 48), (5, 80)):
            inputs = torch.ones((rows, width), dtype=torch.long, device=device)
            where = torch.arange(rows * width - 7, device=device)
            loss_of(model, (inputs, where, where % 97), half).backward()
        print(f"layers compiled in {time.monotonic() - begun:.1f} s", flush=True)
    except Exception as error:  # whatever the compiler raises, eager code is right
        print(f"WARNING: layers are not compiled: {type(error).__name__}: {error}", flush=True)
        for layer in model.model.layers:
            layer._compiled_call_impl = None
    model.zero_grad(set_to_none=True)


def progress(step: int, seconds: float, config: TrainConfig) -> float:
    """The share of the training that is done, by steps or by time, 0 to 1."""
    return min(1.0, max(step / config.steps, seconds / (60 * config.minutes)))


def rate(step: int, done: float, config: TrainConfig) -> float:
    """The learning rate's factor: linear warm-up, level, then down over the second half."""
    return min((step + 1) / config.warmup, 1.0, 0.02 + 0.98 * 2 * (1 - done))


def save_checkpoint(
    path: Path,
    model: nn.Module,
    optimizers: Sequence[torch.optim.Optimizer],
    step: int,
    spent: tuple[int, float],
    curve: Sequence[Point],
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


def train(
    data: Path, shape: ModelConfig, config: TrainConfig, out: Path, start: Path | None = None
) -> LanguageModel:
    """Train, or go on training, on the shards of the folder `data`.

    Leaves `checkpoint.pt`, `loss.csv` and `loss.svg` in `out`. A fresh training takes the weights
    of the folder `start`, where one is given.
    """
    out.mkdir(parents=True, exist_ok=True)
    device = torch.device(config.device)
    now = time.monotonic if device.type == "cuda" else time.process_time
    threads = 1 if device.type == "cuda" else config.threads
    torch.set_num_threads(config.threads)
    torch.set_float32_matmul_precision("high")
    if device.type == "cuda":
        # cuDNN's attention plans a tenth of a second for every size that it has not met.
        torch.backends.cuda.enable_cudnn_sdp(False)
    torch.manual_seed(config.seed)
    begun, saved_at = now(), time.monotonic()
    model = LanguageModel(shape)
    if start:
        weights = torch.load(start / "checkpoint.pt", weights_only=True, map_location="cpu")
        model.load_state_dict(weights["model"])
    else:
        lay(model)
    model.to(device).train()
    half = multiplies_bfloat16(device)
    optimizers = make_optimizers(model, config, half)
    path = out / "checkpoint.pt"
    first, spent, curve = 0, (0, 0.0), []
    if path.exists():
        state = torch.load(path, weights_only=True, map_location=device)
        model.load_state_dict(state["model"])
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        first, spent = state["step"], state["spent"]
        curve = [tuple(point) for point in state["curve"]]
        print(f"resumed at step {first}", flush=True)
    (out / "model_config.json").write_text(json.dumps(shape.to_dict(), indent=2) + "\n")
    plan = BatchConfig(config.batch_tokens, config.seed, config.prompt_share)
    feed = Ahead(batches(data, plan, first), device)
    if config.compile:
        compile_layers(model, device, half)
    seen, seconds, losses = spent[0], spent[1], torch.zeros((), device=device)
    reported = first, seen, seconds
    try:
        for step in range(first, config.steps):
            done = progress(step, seconds, config)
            batch = feed.take()
            for optimizer in optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = config.learning_rate * rate(step, done, config)
            loss = loss_of(model, batch, half)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            losses += loss.detach()
            seen += batch[0].numel()
            seconds = spent[1] + (now() - begun) / threads
            last = progress(step + 1, seconds, config) >= 1.0
            if (step + 1) % config.report_every == 0 or last:
                mean = losses.item() / (step + 1 - reported[0])
                losses.zero_()
                if not math.isfinite(mean):
                    raise FloatingPointError(
                        f"the loss is {mean} at step {step + 1}: a lower --learning-rate than "
                        f"{config.learning_rate} goes on from the last checkpoint"
                    )
                seconds = spent[1] + (now() - begun) / threads
                curve.append((step + 1, seen, seconds, mean))
                speed = (seen - reported[1]) / max(1e-9, seconds - reported[2])
                left = seconds * (1 / progress(step + 1, seconds, config) - 1)
                print(
                    f"step {step + 1}/{config.steps}  loss {mean:.4f}  {speed:.0f} tokens/s  "
                    f"{seen / 1e6:.1f} M tokens  {left / 60:.1f} min left",
                    flush=True,
                )
                reported = step + 1, seen, seconds
                # Only here the loss is known to be a number: what is saved is sound.
                if time.monotonic() - saved_at > config.save_every_s or last:
                    save_checkpoint(path, model, optimizers, step + 1, (seen, seconds), curve)
                    save_curve(out, curve)
                    saved_at = time.monotonic()
            if last:
                break
    finally:
        feed.close()
    return model


def main() -> None:
    """Command line."""
    found = "cuda" if torch.cuda.is_available() else "cpu"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="a folder of shards")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default=found)
    parser.add_argument("--steps", type=int, default=TrainConfig.steps)
    parser.add_argument("--minutes", type=float, default=TrainConfig.minutes, help="of all cores")
    parser.add_argument("--batch-tokens", type=int, default=TrainConfig.batch_tokens)
    parser.add_argument("--learning-rate", type=float, default=TrainConfig.learning_rate)
    parser.add_argument("--warmup", type=int, default=TrainConfig.warmup, help="steps")
    parser.add_argument("--optimizer", choices=("muon", "adamw"), default=TrainConfig.optimizer)
    parser.add_argument("--layers", type=int, default=ModelConfig.num_hidden_layers)
    parser.add_argument("--ffn", type=int, default=ModelConfig.intermediate_size)
    parser.add_argument("--start", type=Path, help="a training folder whose weights to begin with")
    parser.add_argument("--seed", type=int, default=TrainConfig.seed, help="order of the text")
    parser.add_argument("--report-every", type=int, default=TrainConfig.report_every, help="steps")
    parser.add_argument("--no-compile", action="store_true")
    args = parser.parse_args()
    shape = ModelConfig(num_hidden_layers=args.layers, intermediate_size=args.ffn)
    config = TrainConfig(
        steps=args.steps,
        minutes=args.minutes,
        batch_tokens=args.batch_tokens,
        learning_rate=args.learning_rate,
        warmup=args.warmup,
        report_every=args.report_every,
        optimizer=args.optimizer,
        compile=not args.no_compile,
        seed=args.seed,
        device=args.device,
    )
    if config.device == "cuda":
        print(torch.cuda.get_device_name(), torch.__version__, flush=True)
    train(args.data, shape, config, args.out, args.start)
    if config.device == "cuda":
        print(f"largest use of GPU memory {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB")


if __name__ == "__main__":
    main()
