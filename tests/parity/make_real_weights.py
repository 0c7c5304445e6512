"""Write real_weights.json: perplexities of the shared checkpoints by transformers, float32, eager,
and the divergence that plain 8-bit rounding of weights and activations causes.

Run as `python tests/parity/make_real_weights.py` where torch and transformers are installed.
Windows of the full context without overlap, the first token of each unscored, no special tokens
added, natural logarithm.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import transformers
from shared_data import (
    CHAT,
    CHAT_PROMPT,
    TRAINED,
    Trained,
    checksum,
    decode,
    encode,
    eval_tokens,
    model_folder,
)
from tiny_models import Reference

REPLY_TOKENS = 16


def score(trained: Trained) -> dict[str, object]:
    """Perplexity of one checkpoint on its text, and what rounding to 8 bits plainly costs it."""
    reference, rounded = Reference(model_folder(trained)), Reference(model_folder(trained))
    rounded.round_to_8_bit()
    tokens = eval_tokens(trained)
    nll, kld, same_top, count = 0.0, 0.0, 0, 0
    for start in range(0, len(tokens), trained.window):
        window = tokens[start : start + trained.window]
        logp, logq = (_log_softmax(model, window)[:-1] for model in (reference, rounded))
        targets = torch.from_numpy(window[1:].astype(np.int64))
        nll -= float(logp.gather(1, targets[:, None]).sum())
        kld += float((logp.exp() * (logp - logq)).sum())
        same_top += int((logp.argmax(dim=1) == logq.argmax(dim=1)).sum())
        count += len(targets)
    return {
        "window": trained.window,
        "tokens": len(tokens),
        "tokens_crc32": checksum(tokens),
        "scored": count,
        "perplexity": round(math.exp(nll / count), 6),
        "plain_8_bit": {"kld": round(kld / count, 6), "same_top": round(same_top / count, 5)},
    }


def _log_softmax(model: Reference, window: npt.NDArray[np.int32]) -> torch.Tensor:
    """float64 [n, vocab]"""
    return torch.log_softmax(torch.from_numpy(model.logits(window)).double(), dim=-1)


def main() -> None:
    """Score both, and let the chat model answer its sample prompt."""
    found: dict[str, object] = {trained.name: score(trained) for trained in TRAINED}
    prompt = encode(CHAT, CHAT_PROMPT)
    reply, gap = Reference(model_folder(CHAT)).greedy(prompt, REPLY_TOKENS)
    found["reply"] = {"tokens": reply.tolist(), "min_gap": round(gap, 4)}
    print(repr(decode(CHAT, reply)))
    found["transformers"], found["torch"] = transformers.__version__, torch.__version__
    text = json.dumps(found, indent=1)
    Path(__file__).with_name("real_weights.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
