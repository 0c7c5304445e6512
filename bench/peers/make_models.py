#!/usr/bin/env python3
"""Make the benchmark's model shapes with random weights: Hugging Face folders in bf16.

The values do not matter for speed, but they are sane (normal, standard deviation 0.02), so
quantizers and samplers run as usual. The tokenizer is a byte-level BPE trained on the text of
Python's standard library and filled up with never-used tokens to the model's vocabulary size:
every converter wants one.

Needs torch (CPU), transformers, tokenizers, safetensors.

    python make_models.py WORK/models [NAME ...]
"""

import argparse
import json
import sysconfig
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

END, BEGIN = "<|endoftext|>", "<|bos|>"  # token ids 0 and 1
COMMON: dict[str, Any] = {
    "tie_word_embeddings": True,
    "max_position_embeddings": 4096,
    "eos_token_id": 0,
    "pad_token_id": 0,
    "bos_token_id": 1,
}


def shape(name: str) -> PreTrainedConfig:
    """The configuration of one shape: that of a public model, 4096 positions."""
    if name == "qwen0.5b":  # Qwen2.5-0.5B
        return Qwen2Config(
            hidden_size=896,
            num_hidden_layers=24,
            num_attention_heads=14,
            num_key_value_heads=2,
            intermediate_size=4864,
            vocab_size=151936,
            rms_norm_eps=1e-6,
            rope_parameters={"rope_type": "default", "rope_theta": 1e6},
            **COMMON,
        )
    if name == "llama1b":  # Llama-3.2-1B
        return LlamaConfig(
            hidden_size=2048,
            num_hidden_layers=16,
            num_attention_heads=32,
            num_key_value_heads=8,
            head_dim=64,
            intermediate_size=8192,
            vocab_size=128256,
            rms_norm_eps=1e-5,
            rope_parameters={"rope_type": "default", "rope_theta": 5e5},
            **COMMON,
        )
    if name == "smol135m":  # SmolLM2-135M
        return LlamaConfig(
            hidden_size=576,
            num_hidden_layers=30,
            num_attention_heads=9,
            num_key_value_heads=3,
            head_dim=64,
            intermediate_size=1536,
            vocab_size=49152,
            rms_norm_eps=1e-5,
            rope_parameters={"rope_type": "default", "rope_theta": 1e5},
            **COMMON,
        )
    raise SystemExit(f"no such shape: {name}")


SHAPES = ("qwen0.5b", "llama1b", "smol135m")


def base_tokenizer(path: Path, size: int = 24000) -> dict[str, Any]:
    """The shared tokenizer as JSON; trained once."""
    if not path.exists():
        tok = Tokenizer(models.BPE())
        tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tok.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=size,
            special_tokens=[END, BEGIN],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        )
        text = Path(sysconfig.get_paths()["stdlib"])
        tok.train([str(p) for p in sorted(text.glob("*.py"))], trainer)
        tok.save(str(path))
    return json.loads(path.read_text())


def write_tokenizer(base: Path, folder: Path, vocab_size: int) -> None:
    """The base tokenizer, filled up to `vocab_size` tokens."""
    js = base_tokenizer(base)
    vocab = js["model"]["vocab"]
    vocab.update({f"<unused{i}>": i for i in range(len(vocab), vocab_size)})
    file = folder / "filled.json"
    file.write_text(json.dumps(js))
    PreTrainedTokenizerFast(
        tokenizer_file=str(file), bos_token=BEGIN, eos_token=END, pad_token=END
    ).save_pretrained(folder)
    file.unlink()


def main() -> None:
    ap = argparse.ArgumentParser(description="Make model shapes with random weights.")
    ap.add_argument("out", type=Path)
    ap.add_argument("names", nargs="*", default=list(SHAPES), metavar="NAME", help=str(SHAPES))
    args = ap.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.names:
        folder, config = args.out / name, shape(name)
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
        model.generation_config.pad_token_id = 0
        model.save_pretrained(folder)
        write_tokenizer(args.out / "base_tokenizer.json", folder, config.vocab_size)
        total = sum(t.numel() for t in model.parameters())
        print(name, "parameters", total, "embedding", config.vocab_size * config.hidden_size)


if __name__ == "__main__":
    main()
