"""A quantised folder goes through every door as its values in float32 would."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import quantized_folders as forms
import tokenizers
from quantized_folders import write_pair
from tokenizers import decoders, models, pre_tokenizers

from onesec.cli.main import main
from onesec.llm import LLM

pytest.importorskip("onesec._native")

GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 16, "desc_act": True}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Quantised and plain, with a tokenizer of 24 words."""
    folders = write_pair(tmp_path_factory.mktemp("pair"), GPTQ, forms.gptq(ordered=True))
    words = {"<unk>": 0, "<s>": 1, "</s>": 2} | {f"▁w{i}": i for i in range(3, 24)}
    tokenizer = tokenizers.Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    for folder in folders:
        tokenizer.save(str(folder / "tokenizer.json"))
        config = {"bos_token": "<s>", "eos_token": "</s>"}
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folders


def test_it_packs_to_the_same_planes(pair: tuple[Path, Path], tmp_path: Path) -> None:
    for folder in pair:
        assert main(["pack", str(folder), "-o", str(tmp_path / folder.name)]) == 0
    ours, theirs = (tmp_path / f.name / "model.safetensors" for f in pair)
    assert ours.read_bytes() == theirs.read_bytes()


def test_it_answers_alike_in_every_gear(pair: tuple[Path, Path]) -> None:
    answers = []
    for folder in pair:
        with LLM(str(folder)) as llm:
            answers.append(
                [llm.generate("w5 w6", gear=g.name, max_tokens=8).text for g in llm.gears]
            )
    assert answers[0] == answers[1]
    assert len(answers[0]) == 2


def test_it_is_compressed_further(pair: tuple[Path, Path], tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text(" ".join(f"w{3 + i * i % 21}" for i in range(400)))
    output = tmp_path / "out.onesec"
    arguments = ["--text", str(text), "--search-tokens", "64", "--check-tokens", "64"]
    assert main(["compress", str(pair[0]), "-o", str(output), *arguments]) == 0
    gears = json.loads((output / "gears.json").read_text())["gears"]
    assert {"4", "8"} <= {gear["name"] for gear in gears}
