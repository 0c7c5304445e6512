"""Worker: the engine process. Loads the model, runs the engine, speaks to the door over a socket.

It must not know HTTP, text that clients sent, or other processes: one socket is its world, and it
ends when that is closed.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from typing import Any

from onesec.budget.latency import P95, LatencyModel
from onesec.core.clock import Clock, MonotonicClock
from onesec.core.collector import QuietCollector
from onesec.core.errors import OneSecError
from onesec.core.request import Request, SamplingParams
from onesec.engine.engine import Engine
from onesec.loading import LoadedModel, load_model

from . import wire
from .floor import Floor
from .turns import Turns

Open = Callable[[wire.Start, Callable[[float], None]], LoadedModel]
_WARM_MS = 1000.0  # about how long the warm-up may take
_WARM_RUNS = 6
_WARM_PROMPT = 64
_WARM_ANSWER = 64


def open_from(start: wire.Start, progress: Callable[[float], None]) -> LoadedModel:
    """The model that the door named."""
    return load_model(
        start.model,
        device=start.device,
        threads=start.threads,
        context=start.context,
        sequences=start.sequences,
        kv_dtype=start.kv_dtype,
        reference=start.reference,
        progress=progress,
    )


def serve(
    end: wire.EngineEnd,
    *,
    open_model: Open = open_from,
    clock: Clock | None = None,
    quiet_gc: bool = False,
) -> int:
    """Serve one door until it closes its end; returns the process's exit code. `quiet_gc` as in
    LLM."""
    clock = clock or MonotonicClock()
    try:
        first = end.receive()
        if not first:
            return 0
        [start] = first
        if not isinstance(start, wire.Start):
            raise TypeError(f"the first message is a {type(start).__name__}")
        with open_model(start, lambda share: end.send([wire.Loading(share)])) as loaded:
            latency = loaded.measure_latency(clock, "checked")
            # An engine of its own: what is learned of answers' lengths there is no user's.
            limits: dict[str, Any] = {"max_rows": start.max_rows, "max_waiting": start.max_waiting}
            promises = _warm(loaded.engine(clock, latency, **limits))
            lengths = loaded.lengths() if loaded.lengths is not None else None
            floor = Floor()
            engine = loaded.engine(clock, latency, lengths, computing=floor.lent, **limits)
            quiet = QuietCollector() if quiet_gc else None
            try:
                end.send([_ready(loaded, latency, promises)])
                Turns(end, engine, clock, floor, lengths, quiet).run()
            finally:
                if quiet is not None:
                    quiet.close()
                if lengths is not None:
                    lengths.keep(engine.length)
        return 0
    except ConnectionError:
        return 0  # the door is gone: nobody is left to tell
    except Exception as error:
        words = error if isinstance(error, OneSecError) else None
        fault = wire.Fault(
            code=words.code if words else "internal_error",
            message=words.message if words else f"{type(error).__name__}: {error}",
            hint=words.hint if words else "",
        )
        try:
            end.send([wire.Failed(fault)])
        except ConnectionError:
            return 0
        return 1


def _ready(loaded: LoadedModel, latency: LatencyModel, promises: list[wire.Promise]) -> wire.Ready:
    return wire.Ready(
        context_length=loaded.context_length,
        vocab_size=loaded.backend.vocab_size,
        gears=tuple(gear.name for gear in loaded.backend.gears),
        eos_ids=loaded.eos_ids,
        default_params=loaded.default_params,
        latency=latency.to_dict(),
        promises=promises,
        hidden_size=getattr(loaded.backend, "hidden_size", None),
        machine=loaded.machine,
        confidence={
            gear: (curve.a, curve.b, curve.c) for gear, curve in loaded.confidence.curves.items()
        },
    )


def _warm(engine: Engine) -> list[wire.Promise]:
    """Answer a few prompts, so that pages are touched and the latency model has met this machine;
    then say what one user gets at p95."""
    backend, latency = engine.backend, engine.latency
    prompt = min(_WARM_PROMPT, backend.context_length // 2)
    answer = min(_WARM_ANSWER, backend.context_length - prompt)
    took_ms = 0.0
    for number in range(_WARM_RUNS):
        for gear in backend.gears:
            tokens = tuple((7 * number + i) % backend.vocab_size for i in range(prompt))
            params = SamplingParams(max_tokens=answer, ignore_eos=True)
            request = Request(id="warm", prompt_tokens=tokens, params=params, gear=gear.name)
            sequence = engine.add_request(request)
            while engine.has_work:
                engine.step()
            took_ms += sequence.trace.elapsed_ms
        if took_ms > _WARM_MS:
            break
    return [_promise(latency, gear.name, prompt, answer) for gear in backend.gears]


def _promise(latency: LatencyModel, gear: str, prompt: int, answer: int) -> wire.Promise:
    ttft_ms = latency.prefill_ms(gear, prompt, quantile=P95)
    rest_ms = latency.decode_ms(gear, prompt, answer - 1, quantile=P95)
    return wire.Promise(gear, prompt, ttft_ms, answer, ttft_ms + rest_ms)


def main() -> int:
    """The process: its only argument is the descriptor of the socket."""
    with socket.socket(fileno=int(sys.argv[1])) as sock:
        return serve(wire.EngineEnd(sock), quiet_gc=True)


if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    sys.exit(main())
