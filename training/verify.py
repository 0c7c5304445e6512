"""Checks an exported folder against transformers: equal logits, equal greedy replies.

Needs transformers, which nothing else in this folder does.

    python -m training.verify --run DIR --model DIR
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from .evaluate import LIMIT
from .export import load_run
from .model import generate
from .suite import make_suite
from .tokenizer import END, prompt_text


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--count", type=int, default=24)
    args = parser.parse_args()
    ours = load_run(args.run)
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.copy_(parameter.bfloat16().float())
    theirs = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    end = tokenizer.convert_tokens_to_ids(END)
    worst, equal = 0.0, 0
    items = list(make_suite(-(-args.count // 12), seed=17))[: args.count]
    for item in items:
        messages = item["messages"]
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        assert text == prompt_text(messages), "the chat template differs from the training text"
        ids = tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids
        with torch.no_grad():
            worst = max(worst, (ours(ids) - theirs(ids).logits).abs().max().item())
        reply = theirs.generate(ids, max_new_tokens=LIMIT, do_sample=False)[
            0, ids.shape[1] :
        ].tolist()
        equal += reply == generate(ours, [ids[0].tolist()], end, LIMIT)[0]
    print(f"largest difference of logits {worst:.2e}; {equal} of {len(items)} replies equal")
    assert worst < 1e-3, "logits differ"
    assert equal == len(items), "replies differ"


if __name__ == "__main__":
    main()
