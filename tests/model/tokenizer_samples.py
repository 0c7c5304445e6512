"""Small tokenizers in the shapes of real ones, trained here on a few lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

TEXT = [
    "The quick brown fox jumps over the lazy dog. Hello, hello world!",
    "你好，世界。今天天气很好，我们去公园吧。",
    "<|im_start|>user\nwhat is 12 + 345?<|im_end|>\n",
    "def main():\n    print('hi')\n\n\n",
    "it's we'll they've I'm don't naïve café 😀😃",
] * 3
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def byte_level() -> Tokenizer:
    """As GPT-2 and Qwen: bytes, special tokens, one added token that is not special."""
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tok.train_from_iterator(TEXT, trainer)
    tok.add_tokens([AddedToken("<think>", normalized=False)])
    return tok


def sentence_piece(*, metaspace: bool = False) -> Tokenizer:
    """As Llama 2: ▁ for spaces, byte fallback, <s> in front; or with Metaspace, as newer files."""
    tok = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    steps: list[Any] = [decoders.ByteFallback(), decoders.Fuse()]
    if metaspace:
        tok.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
        steps.insert(0, decoders.Replace("▁", " "))
        steps.append(decoders.Strip(" ", 1, 0))
    else:
        tok.normalizer = normalizers.Sequence(
            [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        )
        steps.insert(0, decoders.Replace("▁", " "))
        steps.append(decoders.Strip(" ", 1, 0))
    tok.decoder = decoders.Sequence(steps)
    alphabet = sorted({c for line in TEXT[:1] for c in line} | {"▁"} - {" "})
    trainer = trainers.BpeTrainer(
        vocab_size=520,
        special_tokens=["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))],
        initial_alphabet=alphabet,
        limit_alphabet=60,
        show_progress=False,
    )
    tok.train_from_iterator(TEXT, trainer)
    spec = json.loads(tok.to_str())
    spec["added_tokens"] = spec["added_tokens"][:3]  # byte tokens are ordinary entries
    tok = Tokenizer.from_str(json.dumps(spec))
    tok.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return tok


def characters(count: int) -> Tokenizer:
    """SentencePiece-like, of `count` tokens: <unk>, <s>, </s> and single characters."""
    texts = ["<unk>", "<s>", "</s>", *(chr(0x4E00 + i) for i in range(count - 3))]
    tok = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(texts)}, merges=[]))
    tok.add_special_tokens(texts[:3])
    tok.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse()])
    return tok


def write_folder(folder: Path, tok: Tokenizer, config: dict[str, Any] | None = None) -> Path:
    """A model folder with this tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(tok.to_str(), encoding="utf-8")
    if config is not None:
        (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def gguf_metadata(tok: Tokenizer, *, kind: str, pre: str = "default") -> dict[str, Any]:
    """The keys that a GGUF file of this tokenizer holds."""
    spec = json.loads(tok.to_str())
    special = {t["content"] for t in spec["added_tokens"] if t["special"]}
    added = {t["content"] for t in spec["added_tokens"]}
    vocab = sorted(tok.get_vocab().items(), key=lambda item: item[1])
    tokens = [text for text, _ in vocab]
    merges = [" ".join(pair) for pair in spec["model"]["merges"]]
    rank = {"".join(pair): i for i, pair in reversed(list(enumerate(spec["model"]["merges"])))}
    types = []
    for text in tokens:
        is_byte = text.startswith("<0x") and len(text) == 6
        plain = 6 if is_byte else 2 if text == "<unk>" else 1
        types.append(
            3 if text in special and plain != 2 else 4 if text in added - special else plain
        )
    return {
        "tokenizer.ggml.model": kind,
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": types,
        "tokenizer.ggml.merges": merges,
        "tokenizer.ggml.scores": [-float(rank.get(text, 10_000)) for text in tokens],
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
    }
