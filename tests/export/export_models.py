"""Models to be exported: the golden checkpoints with a tokenizer, and the one that ships."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import tokenizers
from tokenizers import decoders, models, pre_tokenizers

ROOT = Path(__file__).resolve().parent.parent.parent
GOLDEN = ROOT / "tests" / "golden"
MINI = ROOT / "src" / "onesec" / "assets" / "onesec-mini"
CHATML = "{% for m in messages %}<s>{{ m.content }}</s>{% endfor %}"


def prepared(name: str, folder: Path) -> Path:
    """A golden checkpoint with a tokenizer; Gemma's scores scaled as GGUF takes for granted."""
    shutil.copytree(GOLDEN / name, folder)
    config = json.loads((folder / "config.json").read_text())
    if "query_pre_attn_scalar" in config:
        config["query_pre_attn_scalar"] = config["head_dim"]
        (folder / "config.json").write_text(json.dumps(config))
    letters = ["▁", *(f"w{i}" for i in range(3, config["vocab_size"] // 2 - 2))]
    texts = ["<unk>", "<s>", "</s>", *letters, *(f"▁{letter}" for letter in letters[1:])]
    words = {text: at for at, text in enumerate(texts)}
    merges = [("▁", letter) for letter in letters[1:]]
    tokenizer = tokenizers.Tokenizer(models.BPE(vocab=words, merges=merges, unk_token="<unk>"))
    tokenizer.add_special_tokens(["<s>", "</s>"])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.save(str(folder / "tokenizer.json"))
    values = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    values |= {"chat_template": CHATML, "add_bos_token": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(values))
    return folder
