#!/usr/bin/env python3
"""Hugging Face folders to GGUF: bf16 by llama.cpp's converter, other types by its quantizer.

The converter refuses a tokenizer whose pre-tokenizer it does not know; ours splits as GPT-2's does,
so that check is answered here. Needs torch (CPU), transformers, gguf and sentencepiece.

    python to_gguf.py LLAMA_CPP_SOURCE LLAMA_CPP_BIN WORK/models WORK/gguf [NAME ...]
"""

import argparse
import runpy
import subprocess
import sys
from pathlib import Path


def convert(source: Path, model: Path, out: Path) -> None:
    """Run convert_hf_to_gguf.py in this process."""
    sys.path[:0] = [str(source), str(source / "gguf-py")]
    from conversion import base  # from llama.cpp's tree

    base.TextModel.get_vocab_base_pre = lambda self, tokenizer: "gpt-2"
    script = str(source / "convert_hf_to_gguf.py")
    sys.argv = [script, str(model), "--outtype", "bf16", "--outfile", str(out)]
    runpy.run_path(script, run_name="__main__")


def main() -> None:
    ap = argparse.ArgumentParser(description="Make GGUF files of Hugging Face folders.")
    ap.add_argument("source", type=Path, help="llama.cpp source tree")
    ap.add_argument("bin", type=Path, help="folder of llama-quantize")
    ap.add_argument("models", type=Path, help="folder of Hugging Face folders")
    ap.add_argument("out", type=Path)
    ap.add_argument("names", nargs="*", metavar="NAME", help="default: every model")
    ap.add_argument("--types", default="Q4_0,Q8_0", help="llama-quantize types, comma between")
    args = ap.parse_intermixed_args()
    args.out.mkdir(parents=True, exist_ok=True)
    names = args.names or sorted(p.parent.name for p in args.models.glob("*/config.json"))
    for name in names:
        full = args.out / f"{name}-bf16.gguf"
        if not full.exists():
            convert(args.source, args.models / name, full)
        for kind in args.types.split(","):
            small = args.out / f"{name}-{kind}.gguf"
            if not small.exists():
                quantize = str(args.bin / "llama-quantize")
                subprocess.run([quantize, str(full), str(small), kind, "2"], check=True)


if __name__ == "__main__":
    main()
