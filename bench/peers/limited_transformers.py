#!/usr/bin/env python3
"""transformers with a limit of time, `generate(max_time=...)`: a process that answers JSON lines.

At its start it takes the quicker of bf16 and f32, of one thread and all, and says which. Requests:
{"messages"} -> {"ids"}; {"ids", "max_tokens", "max_time_s" or null} -> {"text", "tokens", "ended"}.
Needs torch (CPU) and transformers.

    python limited_transformers.py FOLDER --threads 2
"""

import argparse
import json
import sys
import time
from itertools import product
from typing import Any

import torch
import transformers

TRIAL = 8  # tokens a trial of a setting
TRIALS = 3


class Model:
    """A folder's model at its quickest setting."""

    def __init__(self, folder: str, threads: int) -> None:
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        prompt = self.render([{"role": "user", "content": "What is the sum of two and three?"}])
        dtypes = (torch.float32, torch.bfloat16)
        models = {
            dtype: transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()
            for dtype in dtypes
        }
        self.trials: dict[str, float] = {}
        best = float("inf")
        for dtype, count in product(dtypes, sorted({1, threads})):
            torch.set_num_threads(count)
            step_ms = self._trial(models[dtype], prompt)
            self.trials[f"{str(dtype).removeprefix('torch.')}, {count} threads"] = step_ms
            if step_ms < best:
                best, self.model, chosen = step_ms, models[dtype], count
        torch.set_num_threads(chosen)
        self.setting = min(self.trials, key=self.trials.__getitem__)

    def _trial(self, model: Any, prompt: list[int]) -> float:
        """Milliseconds a token at best; the first trial warms up."""
        times = []
        for _ in range(TRIALS):
            begin = time.perf_counter()
            self._generate(model, prompt, TRIAL, None, min_new_tokens=TRIAL)
            times.append((time.perf_counter() - begin) * 1e3 / TRIAL)
        return min(times[1:])

    def render(self, messages: list[dict[str, str]]) -> list[int]:
        """Token ids of a conversation, up to where the assistant speaks."""
        ids: list[int] = self.tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_dict=False
        )
        return ids

    def _generate(
        self, model: Any, ids: list[int], max_tokens: int, limit_s: float | None, **more: Any
    ) -> list[int]:
        prompt = torch.tensor([ids])
        with torch.inference_mode():
            out = model.generate(
                prompt,
                attention_mask=torch.ones_like(prompt),
                do_sample=False,
                max_new_tokens=max_tokens,
                max_time=limit_s,
                **more,
            )
        new: list[int] = out[0, len(ids) :].tolist()
        return new

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to a line."""
        if "messages" in request:
            return {"ids": self.render(request["messages"])}
        new = self._generate(
            self.model, request["ids"], request["max_tokens"], request["max_time_s"]
        )
        end = self.model.generation_config.eos_token_id
        ended = bool(new) and new[-1] in (end if isinstance(end, list) else [end])
        text = self.tokenizer.decode(new, skip_special_tokens=True)
        return {"text": text, "tokens": len(new) - ended, "ended": ended}


def main() -> None:
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("folder")
    ap.add_argument("--threads", type=int, default=2)
    args = ap.parse_args()
    model = Model(args.folder, args.threads)
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    about = {"setting": model.setting, "trials_ms": model.trials, "versions": versions}
    print(json.dumps(about), flush=True)
    for line in sys.stdin:
        print(json.dumps(model.answer(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
