"""Compression from end to end on a tiny checkpoint: the artifact, its gears, resuming, targets."""

from __future__ import annotations

import json
import math
import shutil
import tempfile
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tokenizers
from tokenizers import decoders, models, pre_tokenizers

from onesec.cli.compress import Size
from onesec.cli.main import main
from onesec.compress import Recipe, compress
from onesec.compress.evaluate import Divergence, Estimate, Quality
from onesec.compress.pipeline import _figures, _fingerprint
from onesec.compress.room import report_bytes
from onesec.core.errors import InvalidRequest, ModelError, ModelNotFound, UnknownGear
from onesec.export import open_outgoing
from onesec.llm import LLM
from onesec.loading import load_model
from onesec.model.artifact import open_artifact
from onesec.model.partfolder import written_bytes

pytest.importorskip("onesec._native")

GOLDEN = Path(__file__).resolve().parent.parent / "golden"
QUICK = {"calibration_tokens": 256, "search_tokens": 64, "check_tokens": 128}
VOCAB = 160


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    shutil.copytree(GOLDEN / "llama-tied", folder)
    words = {"<unk>": 0, "<s>": 1, "</s>": 2} | {f"▁w{i}": i for i in range(3, VOCAB)}
    tokenizer = tokenizers.Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"bos_token": "<s>", "eos_token": "</s>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module")
def artifact(checkpoint: Path) -> Path:
    output = checkpoint.parent / "tiny.onesec"
    found = compress(checkpoint, output, Recipe(**QUICK, tpot_ms=1000.0))
    assert found.path == output
    assert found.target.met
    assert not list(output.parent.glob(".*"))
    return output


def test_gears_are_ordered_and_each_gains(artifact: Path) -> None:
    record = json.loads((artifact / "report.json").read_text(encoding="utf-8"))
    gears = record["gears"]
    mixed = [gear for gear in gears if gear["name"].startswith("g")]
    assert mixed
    assert [gear["name"] for gear in mixed] == [f"g{i + 1}" for i in range(len(mixed))]
    assert [gear["step_ms"] for gear in gears] == sorted(gear["step_ms"] for gear in gears)
    for index, gear in enumerate(gears):
        if gear in mixed:
            assert all(gear["kld_mean"] < other["kld_mean"] for other in gears[:index])
    assert record["target"]["gear"] in {gear["name"] for gear in gears}
    assert record["text"] == "the model's own"
    assert set(record["losses"]["at_4"]) == set(gears[0]["widths"])
    assert set(record["losses"]["fine"]) == set(gears[0]["widths"])


def test_the_report_says_what_calibration_brought(
    artifact: Path, checkpoint: Path, tmp_path: Path
) -> None:
    found = json.loads((artifact / "report.json").read_text(encoding="utf-8"))["calibration"]
    assert found["tokens"] == 256
    assert found["kept"] is (found["kld_after"] < found["kld_before"])
    page = (artifact / "report.html").read_text(encoding="utf-8")
    assert f"{found['kld_after']:.4f}" in page
    without = Recipe(**QUICK | {"calibration_tokens": 0})
    plain = compress(checkpoint, tmp_path / "plain", without)
    assert plain.record["calibration"] is None
    assert "Calibrated" not in (tmp_path / "plain" / "report.html").read_text(encoding="utf-8")


def test_the_artifact_s_gears_answer(artifact: Path) -> None:
    with open_artifact(artifact) as opened:
        names = {gear.name for gear in opened.ladder}
        assert opened.recipe["tpot_ms"] == 1000.0
    with LLM(str(artifact)) as llm:
        assert names < {gear.name for gear in llm.gears}
        for name in names:
            output = llm.generate("w5 w6", gear=name, max_tokens=4)
            assert output.trace.gears == {name: 4} or output.ending == "natural"


@pytest.mark.parametrize("share", [0.0, 0.4])
def test_a_size_is_kept_by_leaving_second_planes_out(
    checkpoint: Path, artifact: Path, tmp_path: Path, share: float
) -> None:
    """A share of the second planes fits; the rest of the matrices have 4 bits for good."""
    with open_artifact(artifact) as opened:
        lo_bytes = {n: opened.packed(n).lo.nbytes for n in opened.matrix_names()}
        fixed = opened.nbytes - sum(lo_bytes.values()) + report_bytes(len(lo_bytes))
    fixed += sum(file.stat().st_size for file in artifact.glob("tokenizer*"))
    size = fixed + round(share * sum(lo_bytes.values()))
    found = compress(checkpoint, tmp_path / "small", Recipe(**QUICK, size_bytes=size))
    assert found.target.met
    assert sum(file.stat().st_size for file in (tmp_path / "small").iterdir()) <= size
    with open_artifact(tmp_path / "small") as small:
        assert (small.narrow < lo_bytes.keys()) is (share > 0.0)
        assert all(small.packed(name).lo.nbytes == 0 for name in small.narrow)
    with LLM(str(tmp_path / "small")) as llm:
        names = [gear.name for gear in llm.gears]
        assert "8" not in names
        assert names[0] == "4" or names[0] == "g1"
        for name in names:
            assert llm.generate("w5 w6", gear=name, max_tokens=4).tokens
        with pytest.raises(UnknownGear):
            llm.generate("w5 w6", gear="8", max_tokens=4)
        llm.save(tmp_path / "again")
    with open_artifact(tmp_path / "again") as again, open_artifact(tmp_path / "small") as small:
        assert again.narrow == small.narrow
    with open_outgoing(tmp_path / "small") as best:
        assert best.gear is not None
        read = {
            gear.name: sum(lo_bytes[n] for n in lo_bytes if gear.width_of(n) == 8)
            for gear in llm.gears
        }
        assert read[best.gear.name] == max(read.values())  # whichever took longest to measure
        assert best.matrix("layers.0.qkv")[0].data.any()


def test_a_size_is_held_against_the_files_that_are_written(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))  # nothing is copied there
    output = tmp_path / "small"
    found = compress(checkpoint, output, Recipe(**QUICK, size_bytes=1000))
    taken = written_bytes(output)
    assert not found.target.met
    assert f"take {taken:,} bytes, and 1,000 were asked for" in found.target.why
    with open_artifact(output) as small:
        assert small.narrow == set(small.matrix_names())
    # Far below what is kept for reports, which take a few numbers more or less each time.
    found = compress(checkpoint, output, Recipe(**QUICK, size_bytes=taken + 5000))
    assert written_bytes(output) <= taken + 5000
    assert found.target.met
    assert found.record["target"]["met"] is True
    with open_artifact(output) as small:
        assert small.narrow == set(small.matrix_names())


def test_a_model_without_8_bits_is_verified_measured_and_timed(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small, text = str(tmp_path / "small"), tmp_path / "text"
    with load_model(checkpoint, context=1) as loaded:
        loaded.save(small, narrow={"layers.0.down"})
    text.write_text("w5 w6 w7 w8")
    assert main(["verify", small, "--json"]) in (0, 1)  # its words are no English
    told = json.loads(capsys.readouterr().out)
    assert [each["gear"] for each in told["quality"]] == ["4"]
    assert main(["bench", small, "--only", "prefill", "--repeats", "1", "--json"]) == 0
    assert [each["width"] for each in json.loads(capsys.readouterr().out)["widths"]] == ["4"]
    assert main(["evaluate", small, "--text", str(text), "--gear", "w8a16"]) == 2
    assert "this model has 4." in capsys.readouterr().err


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]


def test_a_gear_that_is_shown_tells_what_reads_16_bits(
    artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(artifact, copy)
    gears = json.loads((copy / "gears.json").read_text())["gears"]
    fine = {"name": "g99", "width": 8, "widths": {"head": 4}, "fine": ["layers.0.o", "layers.1.o"]}
    (copy / "gears.json").write_text(json.dumps({"gears": [*gears, fine]}))
    assert main(["show", str(copy)]) == 0
    rows = [line.split("  ") for line in capsys.readouterr().out.splitlines()]
    told = {row[1]: [cell.strip() for cell in row if cell.strip()] for row in rows if len(row) > 1}
    assert told["g99"][1] == "8; 1 at 4; 2 read 16"
    assert told["4"][1] == "4"


def test_the_page_needs_no_network(artifact: Path) -> None:
    text = (artifact / "report.html").read_text(encoding="utf-8")
    page = _Page()
    page.feed(text)
    assert page.links == []
    assert "script" not in page.tags
    assert page.tags.count("svg") == 3
    assert page.tags.count("circle") == text.count("<circle")
    assert page.tags.count("circle") >= 3


def test_a_stopped_run_goes_on(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out"
    recipe = Recipe(calibration_tokens=256, search_tokens=256, check_tokens=64)

    def stop_in_the_second_window(stage: str, share: float) -> None:
        if stage == "sensitivity" and share > 0.7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compress(checkpoint, output, recipe, tell=stop_in_the_second_window)
    assert not output.exists()
    (journal,) = tmp_path.glob(".out.journal-*")
    before = journal.read_text().count("sensitivity")
    assert before >= 1
    seen: list[float] = []
    compress(
        checkpoint,
        output,
        recipe,
        tell=lambda stage, share: seen.append(share) if stage == "sensitivity" else None,
    )
    assert min(seen) > before / 2 - 1e-9  # windows that were measured are not measured again
    assert (output / "report.html").exists()
    assert not journal.exists()
    compress(checkpoint, tmp_path / "whole", recipe)  # without a stop: the same planes
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("out", "whole")]
    assert weights[0] == weights[1]


def test_a_journal_belongs_to_all_that_was_read_of_a_model(
    checkpoint: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(checkpoint, tmp_path / "model")
    loaded: Any = SimpleNamespace(context_length=128)

    def fingerprint() -> str:
        return _fingerprint(folder, loaded, Recipe(), None)

    before = fingerprint()
    (folder / ".out.journal-0").write_text("{}")
    (folder / "gone.json").symlink_to(tmp_path / "nowhere")
    assert fingerprint() == before
    (folder / "tokenizer_config.json").write_text("{}")
    assert fingerprint() != before


def test_a_figure_that_is_no_number_is_said() -> None:
    one = Estimate(1.0, 0.0)
    figures = _figures(Quality("g1", 10, 1.0, one, one, Divergence(one, one, 1.0, one, one)))
    assert figures["kld_mean"] == 1.0
    far = Divergence(one, one, 1.0, one, Estimate(math.inf, math.inf))
    with pytest.raises(ModelError, match="In gear g1 perplexity_ratio is inf"):
        _figures(Quality("g1", 10, 1.0, one, one, far))


@pytest.mark.parametrize(
    "recipe",
    [{"tpot_ms": 1e-6}, {"tpot_ms": 1000.0, "max_kld": 1e-12}, {"keep_top1": 1.0}],
    ids=["too quick", "too exact in time", "too exact"],
)
def test_what_cannot_be_met_is_said_and_the_best_is_kept(
    checkpoint: Path, tmp_path: Path, recipe: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    options = [f"--{name.replace('_', '-')}={value}" for name, value in (QUICK | recipe).items()]
    assert main(["compress", str(checkpoint), "-o", str(output), "--json", *options]) == 1
    said = capsys.readouterr()
    assert "Not met" in said.err
    if "max_kld" in recipe or "keep_top1" in recipe:
        assert ("the best gear in time has" in said.err) is ("tpot_ms" in recipe)
    record = json.loads(said.out)
    assert record["target"]["met"] is False
    assert record["target"]["why"]
    assert main(["show", str(output), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["gears"]


def test_a_deadline_is_for_an_answer_that_the_context_holds(
    checkpoint: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    with pytest.raises(InvalidRequest, match="context of 128"):
        compress(checkpoint, output, Recipe(**QUICK, deadline_ms=1e6))
    recipe = Recipe(**QUICK, deadline_ms=1e6, prompt_tokens=100, answer_tokens=29)
    with pytest.raises(InvalidRequest, match="100 tokens and an answer of 29"):
        compress(checkpoint, output, recipe)
    assert not list(tmp_path.iterdir())
    recipe = Recipe(**QUICK, deadline_ms=1e6, prompt_tokens=100, answer_tokens=28)
    assert compress(checkpoint, output, recipe).target.met


@pytest.mark.parametrize(
    ("size", "size_bytes"),
    [("400MB", 400_000_000), ("1.2 GB", 1_200_000_000), ("3MiB", 3 << 20)],
)
def test_sizes_are_read(size: str, size_bytes: int) -> None:
    assert Size().convert(size, None, None) == size_bytes


@pytest.mark.parametrize("size", ["", "MB", "400", "4 apples", "-4MB", "1e9", "0.5.5MB", "inf"])
def test_what_is_no_size_is_said(
    size: str, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["compress", str(checkpoint), "-o", str(tmp_path / "out"), f"--size={size}"]
    assert main(arguments) == 2
    assert "write 400MB" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_bounds_alone_choose_the_quickest_gear_within_them(
    checkpoint: Path, tmp_path: Path
) -> None:
    found = compress(checkpoint, tmp_path / "out", Recipe(**QUICK, max_kld=1e6))
    assert found.target.met
    assert found.target.gear == found.rungs[0].gear.name
    assert "The quickest gear within what was asked" in (found.path / "report.html").read_text()


def test_given_text_is_used_and_must_suffice(checkpoint: Path, tmp_path: Path) -> None:
    text = " ".join(f"w{3 + i * 7 % (VOCAB - 3)}" for i in range(400))
    found = compress(checkpoint, tmp_path / "out", Recipe(**QUICK), text=text)
    assert found.record["text"] == "given"
    assert found.target.gear == min(found.rungs, key=lambda rung: rung.kld).gear.name
    assert "The most accurate gear is" in (found.path / "report.html").read_text()
    with pytest.raises(InvalidRequest, match="3 tokens"):
        compress(checkpoint, tmp_path / "other", Recipe(**QUICK), text="w3 w4 w5")
    assert {path.name for path in tmp_path.iterdir()} == {"out"}


def test_a_report_of_the_folder_one_stands_in_has_a_title(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(checkpoint)
    compress(".", tmp_path / "out", Recipe(**QUICK))
    assert "<h1>tiny</h1>" in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--keep-top1", "97"], "write 97% or 0.97"),
        (["--answer", "32"], "within --deadline"),
        (["--prompt", "32", "--tpot-ms", "5"], "within --deadline"),
    ],
    ids=str,
)
def test_options_that_say_nothing_alone_are_refused(
    options: list[str],
    words: str,
    checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["compress", str(checkpoint), "-o", str(tmp_path / "out"), *options]) == 2
    assert words in " ".join(capsys.readouterr().err.split())


def test_a_place_inside_a_file_is_said(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "bin.txt").write_text("mine")
    with pytest.raises(InvalidRequest, match=r"bin\.txt is no folder"):
        compress(checkpoint, tmp_path / "bin.txt" / "x" / "y")


def test_an_artifact_is_refused(artifact: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="checkpoint"):
        compress(artifact, tmp_path / "out")
    with pytest.raises(ModelNotFound):
        compress(tmp_path / "nothing", tmp_path / "out")


def test_what_is_not_an_artifact_is_not_overwritten(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InvalidRequest, match="not overwritten"):
        compress(checkpoint, tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize(
    "values",
    [
        {"rungs": 0},
        {"rungs": True},
        {"search_tokens": 3},
        {"calibration_tokens": -1},
        {"deadline_ms": 0.0},
        {"deadline_ms": float("nan")},
        {"tpot_ms": -1.0},
        {"keep_top1": 1.5},
        {"max_kld": float("inf")},
        {"deadline_ms": 5.0, "tpot_ms": 5.0},
        {"size_bytes": 0},
        {"size_bytes": True},
        {"size_bytes": 1.5e6},
    ],
    ids=str,
)
def test_recipes_are_checked(values: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        Recipe(**values)
