#!/usr/bin/env python3
"""The models of make_models.py for the Python peers; existing outputs are kept.

    WORK/venv-ov/bin/python convert.py openvino WORK/models WORK/ov [NAME ...]
    WORK/venv-ort/bin/python convert.py ort WORK/models WORK/ort [NAME ...]

OpenVINO: int4 (symmetric, groups of 128, or of 64 where the hidden size is no multiple of 128,
every layer; nncf makes the tied embedding and output matrix int8), int8, fp16. onnxruntime-genai:
int4, groups of 32.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path


def openvino(model: Path, out: Path) -> None:
    """optimum-cli export openvino, three precisions."""
    config = json.loads((model / "config.json").read_text())
    group = 64 if config["hidden_size"] % 128 else 128
    int4 = ["--weight-format", "int4", "--sym", "--group-size", str(group), "--ratio", "1.0"]
    ways = {
        "int4": int4,
        "int8": ["--weight-format", "int8"],
        "fp16": ["--weight-format", "fp16"],
    }
    program = [str(Path(sys.executable).with_name("optimum-cli")), "export", "openvino"]
    for precision, options in ways.items():
        target = out / f"{model.name}-{precision}"
        if not (target / "openvino_model.bin").exists():
            task = ["--model", str(model), "--task", "text-generation-with-past"]
            subprocess.run([*program, *task, *options, str(target)], check=True)


def ort(model: Path, out: Path) -> None:
    """onnxruntime-genai's model builder, int4."""
    target = out / f"{model.name}-int4"
    if not (target / "genai_config.json").exists():
        program = [sys.executable, "-m", "onnxruntime_genai.models.builder"]
        places = ["-i", str(model), "-o", str(target), "-c", str(out / "cache")]
        options = ["--extra_options", "int4_accuracy_level=4", "int4_block_size=32"]
        subprocess.run([*program, *places, "-p", "int4", "-e", "cpu", *options], check=True)


def main() -> None:
    ap = argparse.ArgumentParser(description="Convert models for a Python peer.")
    ap.add_argument("engine", choices=["openvino", "ort"])
    ap.add_argument("models", type=Path)
    ap.add_argument("out", type=Path)
    ap.add_argument("names", nargs="*", metavar="NAME", help="default: every model")
    args = ap.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    args.out.mkdir(parents=True, exist_ok=True)
    names = args.names or sorted(p.parent.name for p in args.models.glob("*/config.json"))
    for name in names:
        (openvino if args.engine == "openvino" else ort)(args.models / name, args.out)


if __name__ == "__main__":
    main()
