"""Write tests/golden: a tiny checkpoint per architecture and what transformers computes with it.

Run as `python tests/parity/make_golden.py [NAME ...]` where torch and transformers are installed.
A folder holds the checkpoint (config.json, safetensors) and expected.npz:
  tokens  int32 [48]          a random prompt
  logits  float32 [48, vocab] after each of its tokens
  greedy  int32 [64]          what follows its first 16 tokens greedily, end tokens ignored
Seeds whose greedy path comes near a tie are passed over: any faithful engine walks the same path.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch
import transformers
from tiny_models import GOLDEN, Reference, Tiny, write_checkpoint

GOLDEN_DIR = Path(__file__).resolve().parent.parent / "golden"
PROMPT_TOKENS, GREEDY_FROM, GREEDY_TOKENS = 48, 16, 64
MIN_GAP = 1e-2  # of the logits' standard deviation
MAX_SEEDS = 60
MIN_DISTINCT = 8  # tokens in the greedy answer: one that repeats a token would prove little


def make(name: str, tiny: Tiny) -> dict[str, object]:
    """Write one fixture; returns its line of the manifest."""
    folder = GOLDEN_DIR / name
    for seed in range(MAX_SEEDS):
        write_checkpoint(tiny, folder, seed=seed)
        reference = Reference(folder)
        tokens = np.random.default_rng(seed).integers(0, tiny.vocab_size, PROMPT_TOKENS)
        tokens = tokens.astype(np.int32)
        logits = reference.logits(tokens)
        greedy, gap = reference.greedy(tokens[:GREEDY_FROM], GREEDY_TOKENS)
        spread = float(logits.std())
        if gap > MIN_GAP * spread and len(set(greedy.tolist())) >= MIN_DISTINCT:
            break
    else:
        raise SystemExit(f"{name}: no seed below {MAX_SEEDS} keeps clear of ties")
    np.savez_compressed(folder / "expected.npz", tokens=tokens, logits=logits, greedy=greedy)
    return {
        "seed": seed,
        "stored": tiny.stored,
        "logit_std": round(spread, 4),
        "min_gap": round(gap, 4),
    }


def main(names: list[str]) -> None:
    """Make the named fixtures (all of them without names) and bring the manifest up to date."""
    path = GOLDEN_DIR / "manifest.json"
    manifest = json.loads(path.read_text()) if path.exists() else {"fixtures": {}}
    manifest |= {"transformers": transformers.__version__, "torch": torch.__version__}
    for name in names or GOLDEN:
        manifest["fixtures"][name] = make(name, GOLDEN[name])
        path.write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n")
        print(name, manifest["fixtures"][name], flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    main(sys.argv[1:])
