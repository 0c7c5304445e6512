"""Writes a checkpoint as a Hugging Face folder that any Qwen3 loader reads.

It must not know how the weights were learned.

    python -m training.export --run DIR --tokenizer FILE --out DIR
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer

from .model import LanguageModel
from .shape import ModelConfig
from .tokenizer import CHAT_TEMPLATE, END, END_OF_TEXT

DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}


def load_run(run: Path) -> LanguageModel:
    """The model of a training folder, with the weights of its last checkpoint."""
    shape = ModelConfig(**json.loads((run / "model_config.json").read_text()))
    model = LanguageModel(shape)
    state = torch.load(run / "checkpoint.pt", weights_only=True, map_location="cpu")
    model.load_state_dict(state["model"])
    return model.eval()


def mean_of(runs: Sequence[Path]) -> LanguageModel:
    """The model whose weights are the mean of those of training folders that follow one another
    (arXiv 2203.05482): what each round's last steps did by chance cancels out."""
    first, *others = [load_run(run) for run in runs]
    with torch.no_grad():
        for mean, *values in zip(
            first.parameters(), *(other.parameters() for other in others), strict=True
        ):
            mean.copy_(torch.stack([mean, *values]).mean(dim=0))
    return first


def write_json(path: Path, value: object) -> None:
    """Write indented JSON."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def export(model: LanguageModel, tokenizer_file: Path, out: Path, dtype: str) -> None:
    """Write weights, configuration, tokenizer and chat template into `out`."""
    out.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    end, pad = tokenizer.token_to_id(END), tokenizer.token_to_id(END_OF_TEXT)
    weights = {
        name: value.detach().to(DTYPES[dtype]).contiguous()
        for name, value in model.named_parameters()
    }
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    (out / "model.safetensors").chmod(0o644)
    shutil.copyfile(tokenizer_file, out / "tokenizer.json")
    shape = model.config
    write_json(
        out / "config.json",
        {
            "architectures": ["Qwen3ForCausalLM"],
            "model_type": "qwen3",
            **shape.to_dict(),
            "hidden_act": "silu",
            "attention_bias": False,
            "attention_dropout": 0.0,
            "initializer_range": 0.02,
            "rope_scaling": None,
            "sliding_window": None,
            "use_sliding_window": False,
            "max_window_layers": shape.num_hidden_layers,
            "tie_word_embeddings": True,
            "use_cache": True,
            "bos_token_id": None,
            "eos_token_id": end,
            "pad_token_id": pad,
            "torch_dtype": dtype,
        },
    )
    write_json(
        out / "generation_config.json",
        {
            "do_sample": False,
            "eos_token_id": [end, pad],
            "pad_token_id": pad,
            "max_new_tokens": 160,
        },
    )
    write_json(
        out / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": shape.max_position_embeddings,
            "bos_token": None,
            "eos_token": END,
            "pad_token": END_OF_TEXT,
            "clean_up_tokenization_spaces": False,
            "chat_template": CHAT_TEMPLATE,
        },
    )
    write_json(out / "special_tokens_map.json", {"eos_token": END, "pad_token": END_OF_TEXT})


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--run", type=Path, action="append", required=True, help="repeated: the mean of several"
    )
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--dtype", choices=tuple(DTYPES), default="bfloat16")
    args = parser.parse_args()
    model = mean_of(args.run)
    export(model, args.tokenizer, args.out, args.dtype)
    size = (args.out / "model.safetensors").stat().st_size
    print(f"{args.out}: {model.parameter_count():,} parameters, {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
