#!/usr/bin/env python3
"""Deadlines kept by OneSec and by its peers with their own limits of time, in real time.

The same questions with the same tokens at the same budgets, one user, greedy, without prefix
caches; systems take turns within a question, so that a slow spell of the machine meets all of them.
What is timed is the call, from the client's side, to the last byte. WORK is what setup.sh filled;
OneSec must be importable. It must not know how a peer is spoken to.

    python deadlines.py WORK --source ../../training/onesec-mini --out result.json
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from limited_llamacpp import Server
from limits import FirstToken, Reply, max_time_ms, predict_limit_ms, step_ms, table
from machine import describe

from onesec.apps.judge import Item
from onesec.bench.deadlines import split
from onesec.bench.drive import Asked, Driver, Outcome
from onesec.bench.figures import five, upper
from onesec.bench.questions import Question, of_suite
from onesec.compress.suite import find_suite, read_suite
from onesec.core.clock import MonotonicClock
from onesec.engine.engine import Engine
from onesec.loading import LoadedModel, load_model

BUDGETS_MS = (20.0, 40.0, 80.0, 160.0, 320.0)
GGUF = ("q8_0", "q4_0")
PAUSE_S = 0.06  # between turns: other engines' threads go to sleep, work that was left ends
CALIBRATED = 12  # questions, no others than those asked, for clients' knowledge of times
System = Callable[[Question, float], Outcome]


def judged(question: Question, budget_ms: float, reply: Reply) -> Outcome:
    """A peer's reply under the rules of ours: late or cut, it is worth nothing."""
    counts = reply.ending in ("natural", "landed") and reply.elapsed_ms <= budget_ms
    return Outcome(
        question=question,
        budget_ms=budget_ms,
        reply=reply.text,
        tokens=reply.tokens,
        elapsed_ms=reply.elapsed_ms,
        ending=reply.ending,
        ttft_ms=reply.ttft_ms,
        value=question.worth(reply.text, True) if counts else 0.0,
    )


def ours(loaded: LoadedModel) -> dict[str, System]:
    """OneSec, once refusing what it cannot promise and once refusing nothing."""
    clock = MonotonicClock()
    latency = loaded.measure_latency(clock, "checked")

    def system(best_effort: bool) -> System:
        engine = Engine(
            loaded.backend,
            clock,
            latency=latency,
            eos_ids=loaded.eos_ids,
            decode_text=loaded.tokenizer.decode,
            prefix_cache=False,
        )
        driver = Driver(engine, clock, loaded.tokenizer, lambda ms: time.sleep(ms / 1e3))
        return lambda question, budget_ms: driver.ask(
            Asked(question=question, budget_ms=budget_ms, best_effort=best_effort)
        )

    return {"onesec": system(False), "onesec, best effort": system(True)}


class Transformers:
    """The process of limited_transformers.py."""

    def __init__(self, python: Path, folder: Path, threads: int) -> None:
        script = Path(__file__).with_name("limited_transformers.py")
        command = [str(python), str(script), str(folder), "--threads", str(threads)]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True
        )
        self.about = self._line()

    def _line(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        if not (line := self._process.stdout.readline()):
            raise SystemExit("transformers' process ended early")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def call(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to a request."""
        assert self._process.stdin is not None
        print(json.dumps(request), file=self._process.stdin, flush=True)
        return self._line()

    def ask(self, question: Question, limit_ms: float | None, most: int | None = None) -> Reply:
        """The reply to a question within generate's own limit; of `most` tokens instead of the
        question's own."""
        begin = time.perf_counter()
        limit_s = None if limit_ms is None else limit_ms / 1e3
        ids, most = list(question.prompt_tokens), most or question.params.max_tokens
        answer = self.call({"ids": ids, "max_tokens": most, "max_time_s": limit_s})
        return Reply(
            text=answer["text"],
            tokens=answer["tokens"],
            elapsed_ms=(time.perf_counter() - begin) * 1e3,
            ending="natural" if answer["ended"] else "cut",
        )

    def systems(self, some: Sequence[Question]) -> dict[str, System]:
        """`max_time` as it reads, and with a slow step of this machine taken off beforehand."""
        found = [step_ms(self.ask(each, None), self.ask(each, None, 1)) for each in some]
        steps_ms = [ms for ms in found if ms is not None]
        if not steps_ms:
            raise SystemExit("transformers' replies are too short to tell the time of a step")
        slow_ms = upper(steps_ms, 0.95)
        self.about["step_p95_ms"] = slow_ms
        return {
            "transformers, max_time = T": lambda q, t: judged(q, t, self.ask(q, t)),
            "transformers, max_time = T - step": lambda q, t: judged(
                q, t, self.ask(q, max_time_ms(t, slow_ms))
            ),
        }

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def llamacpp(
    server: Server, name: str, some: Sequence[Question], about: dict[str, Any]
) -> dict[str, System]:
    """`t_max_predict_ms` of a client that knows its times to the first token, and a client that
    stops listening when the time is over."""
    waits: dict[int, list[float]] = {}
    for question in [*some, *some]:
        ids = question.prompt_tokens
        waits.setdefault(len(ids), []).append(server.ask(ids, 1).elapsed_ms)
    first = FirstToken.fitted(waits)
    trips = [server.round_trip_ms() for _ in range(20)]
    about["first_token_ms"] = {"base": first.base_ms, "a_prompt_token": first.slope_ms}
    about["empty_round_trip_ms"] = statistics.median(trips)

    def most(question: Question) -> int:
        assert question.params.max_tokens is not None
        return question.params.max_tokens

    def limited(question: Question, budget_ms: float) -> Outcome:
        ids = question.prompt_tokens
        limit_ms = predict_limit_ms(budget_ms, first.ms(len(ids)))
        return judged(
            question, budget_ms, server.ask(ids, most(question), predict_limit_ms=limit_ms)
        )

    def aborted(question: Question, budget_ms: float) -> Outcome:
        ids = question.prompt_tokens
        return judged(question, budget_ms, server.ask(ids, most(question), abort_ms=budget_ms))

    return {f"llama.cpp {name}, t_max_predict_ms": limited, f"llama.cpp {name}, abort": aborted}


def llama_server(work: Path) -> tuple[list[str], dict[str, Any]]:
    """The command of llama.cpp's server, built here or from the wheel, and what it is."""
    built, version = work / "build-llama" / "bin" / "llama-server", work / "llama.cpp.version"
    if built.exists():
        return [str(built)], {"build": version.read_text().strip()}
    python = work / "venv-xllama" / "bin" / "python"
    told = subprocess.run(
        [str(python), "-m", "pip", "list", "--format=freeze"],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    wheel = next(line for line in told.splitlines() if line.startswith("xllamacpp=="))
    return [str(python), str(Path(__file__).with_name("llama_wheel.py"))], {"build": wheel}


def exported(source: Path, folder: Path, kind: str) -> Path:
    """The source as GGUF, written by OneSec; what is there is kept."""
    path = folder / f"{source.name}-{kind}.gguf"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "onesec", "export", str(source), "-o", str(path)]
        subprocess.run([*command, "--type", kind], check=True)
    return path


def same_prompts(peer: Transformers, items: Sequence[Item], questions: Sequence[Question]) -> None:
    """Raises SystemExit where transformers' own template and tokenizer read other tokens."""
    by_id = {item["id"]: item for item in items}
    for question in questions:
        ids = peer.call({"messages": by_id[question.id]["messages"]})["ids"]
        if tuple(ids) != question.prompt_tokens:
            raise SystemExit(f"{question.id}: transformers reads other tokens")


def measured(
    systems: dict[str, System], questions: Sequence[Question], budgets_ms: Sequence[float]
) -> dict[str, Any]:
    """The five figures of every system at every budget, and the machine's load beside them."""
    before, begin = os.getloadavg(), time.monotonic()
    found: dict[float, dict[str, list[Outcome]]] = {
        budget_ms: {name: [] for name in systems} for budget_ms in budgets_ms
    }
    names = list(systems)
    for number, question in enumerate(questions):
        turn = number % len(names)
        for budget_ms, cell in found.items():
            for name in names[turn:] + names[:turn]:
                cell[name].append(systems[name](question, budget_ms))
                time.sleep(PAUSE_S)
    rows = [
        {
            "budget_ms": budget_ms,
            "systems": {name: five(outcomes).to_dict() for name, outcomes in cell.items()},
        }
        for budget_ms, cell in found.items()
    ]
    loads = {"load_average_before": before, "load_average_after": os.getloadavg()}
    return {**loads, "seconds": round(time.monotonic() - begin), "rows": rows}


def main() -> None:
    ap = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    ap.add_argument("work", type=Path, help="the folder that setup.sh filled")
    ap.add_argument("--source", type=Path, required=True, help="the model, bf16, Hugging Face")
    ap.add_argument("--model", default="onesec-mini", help="the same model for OneSec")
    ap.add_argument("--suite", default="mini")
    ap.add_argument("--peers", default="transformers,llama.cpp", help="comma between")
    ap.add_argument("--budgets", default=",".join(f"{t:g}" for t in BUDGETS_MS), help="ms")
    ap.add_argument("--questions", type=int, default=100)
    ap.add_argument("--runs", type=int, default=2)
    ap.add_argument("--threads", type=int, default=2)
    ap.add_argument("--seed", type=int, default=0)
    ap.add_argument("--out", type=Path)
    args = ap.parse_args()
    peers = args.peers.split(",")
    items = read_suite(find_suite(args.suite))
    record: dict[str, Any] = {
        "model": args.model,
        "suite": args.suite,
        "seed": args.seed,
        "threads": args.threads,
        "machine": describe(),
        "peers": {},
    }
    with ExitStack() as stack:
        loaded = stack.enter_context(closing(load_model(args.model, threads=args.threads)))
        asked = split(of_suite(loaded, items))[1]
        questions = random.Random(args.seed).sample(asked, min(args.questions, len(asked)))
        systems, some = ours(loaded), questions[:CALIBRATED]
        if "transformers" in peers:
            python = args.work / "venv-tf" / "bin" / "python"
            peer = stack.enter_context(closing(Transformers(python, args.source, args.threads)))
            same_prompts(peer, items, questions)
            systems |= peer.systems(some)
            record["peers"]["transformers"] = peer.about
        for kind in GGUF if "llama.cpp" in peers else ():
            program, about = llama_server(args.work)
            model = exported(args.source, args.work / "gguf", kind)
            server = stack.enter_context(closing(Server(program, model, args.threads)))
            record["peers"][f"llama.cpp {kind}"] = about
            systems |= llamacpp(server, kind, some, about)
        budgets_ms = [float(text) for text in args.budgets.split(",")]
        for question in some:  # every engine has warmed up
            for system in systems.values():
                system(question, max(budgets_ms))
        record["runs"] = []
        for _ in range(args.runs):
            run = measured(systems, questions, budgets_ms)
            record["runs"].append(run)
            print(table(run["rows"]), f"\n\nload average {run['load_average_after']}\n", flush=True)
            if args.out is not None:
                args.out.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
