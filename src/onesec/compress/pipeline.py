"""Pipeline: a checkpoint in, an artifact with a ladder of gears and a report out.

Stages: load (pack into planes) → text → calibrate → quantize (pack for what was read) → sensitivity
→ timing → search → measure → write. What takes long goes into a journal beside the output, so that
a run that was killed goes on where it was; calibration is quick and repeats itself to the bit.
It must not know how a stage works inside.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from onesec import __version__
from onesec.backend.cpu import CpuBackend
from onesec.core.clock import Clock, MonotonicClock
from onesec.core.errors import InvalidRequest, ModelError
from onesec.core.gear import UNIFORM, Gear, name_in_gears
from onesec.core.paths import path_of
from onesec.engine.profile import profile
from onesec.loading import LoadedModel, find_model, load_model, open_source
from onesec.machine import describe
from onesec.model.artifact import is_artifact
from onesec.model.artifact_writer import check_target
from onesec.model.config import ModelConfig
from onesec.model.ladder import gear_records, sublayers
from onesec.model.shapes import weight_count

from .calibrate import DEFAULT_TOKENS, Calibration, calibrate
from .evaluate import Quality, Subject, measure
from .journal import Journal
from .ladder import Proposal, Rung, propose, rung_times, worth_keeping
from .own_text import ROWS
from .recipe import Recipe
from .report import write_judged_reports
from .room import room_of
from .sensitivity import WINDOW_TOKENS, Sensitivities, measure_sensitivities
from .target import Target, choose, corrected_ms, step_of
from .texts import LEAST_TOKENS, gather
from .timing import StepCosts, step_costs, step_times

STAGES = ("load", "text", "calibrate", "quantize", "sensitivity", "timing", "measure", "write")
REFERENCE = UNIFORM[16]
CONTEXT_TOKENS = 1024  # enough for prompts that are timed, and no more memory than that
_TIMING_ROUNDS = 24
_CORRECTIONS = 3  # times that a step time is asked for anew
_WORK = 5e12  # weights x tokens x gears: about two minutes of two cores
_SEARCH_RANGE, _CHECK_RANGE = (LEAST_TOKENS, 2048), (512, 4096)  # tokens
Tell = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class Compressed:
    """What a compression found; `path` is the artifact."""

    path: Path
    rungs: Sequence[Rung]
    target: Target
    costs: StepCosts
    losses: Sensitivities
    record: dict[str, Any]


def compress(
    model: str | Path,
    output: str | Path,
    recipe: Recipe | None = None,
    *,
    text: str | None = None,
    threads: int | None = None,
    clock: Clock | None = None,
    tell: Tell | None = None,
) -> Compressed:
    """Compress a checkpoint into the artifact `output`, with gears between 4 and 8 bits.

    `text` is what the model is measured on (None: text that it writes itself). `tell` gets the name
    of each stage and the share of it that is done. Where the accuracy asked for cannot be kept, or
    the time not be met, the artifact is written all the same, with the best that was found, and
    `target.met` is False.
    Raises InvalidRequest (an artifact has no 16-bit weights to compare with; too little text; a
    deadline for more than the context holds), ModelError, OutOfMemory. Nothing is left at `output`
    unless all is written.

    >>> compress("models/SmolLM2-135M", "smol.onesec", Recipe(tpot_ms=8.0))  # doctest: +SKIP
    """
    recipe, output = recipe or Recipe(), path_of(output)
    clock, tell = clock or MonotonicClock(), tell or (lambda stage, share: None)
    path = find_model(model)
    if is_artifact(path):
        raise InvalidRequest(
            f"{model} is an artifact; its 16-bit weights are gone.",
            hint="Compress the checkpoint that it was made from.",
        )
    check_target(output)
    with open_source(path) as source:
        context = min(source.config.context_length, CONTEXT_TOKENS)
        _check_answer(recipe, source.config.max_context)
    with (
        load_model(
            model,
            context=context,
            sequences=-(-ROWS * WINDOW_TOKENS // context),
            threads=threads,
            reference=True,
            progress=partial(tell, "load"),
        ) as loaded,
        Journal(output, _fingerprint(path, loaded, recipe, text)) as journal,
    ):
        found = _search(loaded, recipe, text, journal, clock, tell)
        record = found.record | {"model": str(model), "output": str(output)}
        narrow = found.record["narrow"]
        figures = {rung.gear.name: _figures(rung.quality) for rung in found.rungs}
        gears = [rung.gear for rung in found.rungs]
        target = found.target

        def report(folder: Path) -> None:
            nonlocal target
            target = write_judged_reports(folder, record, found.target, recipe.size_bytes)

        tell("write", 0.0)
        loaded.save(
            output,
            gears={"gears": gear_records(gears, figures), "reference": REFERENCE.name},
            recipe=recipe.to_dict(),
            narrow=narrow,
            beside=report,
        )
        journal.finish()
        tell("write", 1.0)
    return replace(found, path=output, target=target, record=record)


def _check_answer(recipe: Recipe, limit: int) -> None:
    """Refuse the deadline of an answer that a context of `limit` tokens cannot hold."""
    prompt, answer = recipe.prompt_tokens, recipe.answer_tokens
    if recipe.deadline_ms is not None and prompt + answer > limit:
        raise InvalidRequest(
            f"A prompt of {prompt} tokens and an answer of {answer} do not fit the model's context "
            f"of {limit}.",
            hint="Say how long they are: --prompt and --answer.",
        )


def _search(
    loaded: LoadedModel,
    recipe: Recipe,
    text: str | None,
    journal: Journal,
    clock: Clock,
    tell: Tell,
) -> Compressed:
    backend = loaded.backend
    assert isinstance(backend, CpuBackend)
    config = backend.config
    pairs = sublayers(config)
    matrices = [name for pair in pairs for name in pair] + ["head"]
    counts = (
        DEFAULT_TOKENS if recipe.calibration_tokens is None else recipe.calibration_tokens,
        recipe.search_tokens
        or _affordable(config, 2 * len(matrices) + len(pairs) + 1, _SEARCH_RANGE),
        recipe.check_tokens or _affordable(config, recipe.rungs + 7, _CHECK_RANGE),
    )
    texts = gather(
        loaded, text, counts, seed=recipe.seed, journal=journal, progress=partial(tell, "text")
    )
    calibration = None
    if texts.calibration:
        calibration = calibrate(
            backend,
            REFERENCE,
            texts.calibration,
            texts.check,
            reading=partial(tell, "calibrate"),
            packing=partial(tell, "quantize"),
        )
    losses = measure_sensitivities(
        backend,
        REFERENCE,
        texts.search,
        matrices,
        pairs,
        journal=journal,
        progress=partial(tell, "sensitivity"),
    )
    costs = step_costs(
        backend, matrices, pairs, rounds=_TIMING_ROUNDS, progress=partial(tell, "timing")
    )
    in_gears = partial(name_in_gears, tied=config.tie_embeddings)
    narrow: frozenset[str] = frozenset()
    if recipe.size_bytes is not None:
        room = room_of(config, _beside_bytes(loaded))
        at_4 = {name: losses.at_4.get(in_gears(name), 0.0) for name in room.lo_bytes}
        wide = room.wide(at_4, recipe.size_bytes)
        narrow = frozenset(room.lo_bytes) - wide
    four = profile(backend, clock, gears=[UNIFORM[4]], budget_s=1.0)
    four_only = [in_gears(name) for name in narrow]
    rungs = _climb(
        backend,
        rung_times(costs, matrices, rungs=recipe.rungs, narrow=four_only),
        step_of(recipe, four),
        costs.base_ms,
        partial(propose, costs, losses, matrices, pairs, narrow=four_only),
        [UNIFORM[4]] if narrow else [UNIFORM[4], UNIFORM[8]],
        texts.check,
        partial(tell, "measure"),
    )
    latency = profile(backend, clock, gears=[rung.gear for rung in rungs], budget_s=2.0)
    target = choose(recipe, rungs, latency)
    record = _record(loaded, recipe, text, losses, costs, rungs, target, names=matrices)
    record["calibration"] = None if calibration is None else _bought(calibration)
    record["narrow"] = sorted(narrow)
    return Compressed(Path(), rungs, target, costs, losses, record)


def _fingerprint(path: Path, loaded: LoadedModel, recipe: Recipe, text: str | None) -> str:
    read = (".safetensors", ".json")
    files = [path] if path.is_file() else sorted(f for f in path.iterdir() if f.suffix in read)
    files = [file for file in files if file.is_file()]  # no links to nothing
    stats = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    effort = (recipe.calibration_tokens, recipe.search_tokens, recipe.check_tokens, recipe.seed)
    return repr((__version__, stats, loaded.context_length, effort, text))


def _beside_bytes(loaded: LoadedModel) -> int:
    """Bytes of an artifact that are neither planes nor reports."""
    assert isinstance(loaded.backend, CpuBackend)
    vectors = sum(vector.nbytes for vector in loaded.backend.vectors().values())
    return loaded.companion_bytes() + vectors


def _affordable(config: ModelConfig, gears: int, limits: tuple[int, int]) -> int:
    """Tokens that all gears can read with _WORK, within limits."""
    return min(max(round(_WORK / (weight_count(config) * gears)), limits[0]), limits[1])


def _climb(
    backend: CpuBackend,
    times_ms: Sequence[float],
    asked_ms: float | None,
    base_ms: float,
    find: Callable[[Sequence[float]], list[Proposal]],
    uniform: Sequence[Gear],
    tokens: Sequence[int],
    progress: Callable[[float], None],
) -> list[Rung]:
    """The ladder: gears that `find` finds for steps of `times_ms` and of `asked_ms`, measured, and
    found again where what was asked for was missed. `base_ms`: the costs' step at 4 bits."""
    asked = [] if asked_ms is None else [asked_ms]
    measured = _measured(backend, uniform, find([*times_ms, *asked]), tokens, progress)
    for _ in range(_CORRECTIONS):
        kept = worth_keeping(measured)
        again_ms = None if asked_ms is None else corrected_ms(kept, asked_ms, base_ms)
        if again_ms is None:
            break
        # Beside the gear "4", so that a machine that changed its pace is noticed.
        again = find([again_ms])
        four_again, *more = _measured(backend, uniform[:1], again, tokens, lambda share: None)
        pace = measured[0].step_ms / four_again.step_ms
        measured += [replace(rung, step_ms=rung.step_ms * pace) for rung in more]
    return worth_keeping(measured)


def _measured(
    backend: CpuBackend,
    uniform: Sequence[Gear],
    proposals: Sequence[Proposal],
    tokens: Sequence[int],
    progress: Callable[[float], None],
) -> list[Rung]:
    """The proposals and the uniform gears, each measured on the same text and in the same turns."""
    gears = [*uniform, *(proposal.gear for proposal in proposals)]
    times = step_times(
        backend, gears, rounds=_TIMING_ROUNDS, progress=lambda share: progress(share / 4)
    )
    window = min(WINDOW_TOKENS, backend.context_length)
    qualities, _ = measure(
        [Subject(backend, gear) for gear in gears],
        tokens,
        window=window,
        reference=Subject(backend, REFERENCE),
        progress=lambda share: progress(0.25 + 0.75 * share),
    )
    predictions = [*((None, None) for _ in uniform), *((p.ms, p.kld) for p in proposals)]
    return [
        Rung(gear, ms, quality, *predicted)
        for gear, ms, quality, predicted in zip(gears, times, qualities, predictions, strict=True)
    ]


def _figures(quality: Quality) -> dict[str, Any]:
    """What gears.json tells of a gear. Raises ModelError where a number is none."""
    divergence = quality.divergence
    assert divergence is not None
    found = {
        "kld_mean": divergence.kld_mean,
        "kld_p99": divergence.kld_p99,
        "same_top": divergence.same_top,
        "perplexity_ratio": divergence.perplexity_ratio,
    }
    record: dict[str, Any] = {"tokens": quality.tokens, "kld_max": divergence.kld_max}
    for name, estimate in found.items():
        record |= {name: estimate.value, f"{name}_se": estimate.se}
    for name, value in record.items():
        if not math.isfinite(value):
            raise ModelError(
                f"In gear {quality.gear} {name} is {value}: the model's logits are too far apart.",
                hint="Try the checkpoint at 16 bits: onesec evaluate MODEL --gear 16.",
            )
    return record


def _bought(calibration: Calibration) -> dict[str, Any]:
    return {
        "tokens": calibration.tokens,
        "kept": calibration.kept,
        "kld_before": calibration.before.value,
        "kld_before_se": calibration.before.se,
        "kld_after": calibration.after.value,
        "kld_after_se": calibration.after.se,
    }


def _record(
    loaded: LoadedModel,
    recipe: Recipe,
    text: str | None,
    losses: Sensitivities,
    costs: StepCosts,
    rungs: Sequence[Rung],
    target: Target,
    *,
    names: Sequence[str],
) -> dict[str, Any]:
    """report.json: everything that was measured, as plain values."""
    backend = loaded.backend
    assert isinstance(backend, CpuBackend)
    return {
        "onesec": __version__,
        "machine": describe() | {"isa": backend.isa, "threads": backend.num_threads},
        "recipe": recipe.to_dict(),
        "text": "given" if text is not None else "the model's own",
        "parameters": weight_count(backend.config),
        "plane_bytes": backend.plane_bytes,
        "gears": [
            {
                "name": rung.gear.name,
                "bytes_per_token": backend.bytes_per_token(rung.gear),
                "step_ms": rung.step_ms,
                "predicted_ms": rung.predicted_ms,
                "predicted_kld": rung.predicted_kld,
                "widths": {name: rung.gear.width_of(name) for name in names},
                "fine": sorted(rung.gear.fine),
                **_figures(rung.quality),
            }
            for rung in rungs
        ],
        "target": asdict(target),
        "losses": {
            "all_8": losses.all_8,
            "at_4": dict(losses.at_4),
            "fine": dict(losses.fine),
            "skipped": dict(losses.skipped),
        },
        "costs": {
            "base_ms": costs.base_ms,
            "second_plane_ms": dict(costs.second_plane_ms),
            "fine_ms": dict(costs.fine_ms),
            "skip_saves_ms": dict(costs.skip_saves_ms),
        },
    }
