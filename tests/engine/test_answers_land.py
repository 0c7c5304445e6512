"""Answers of every form, brought to an end at any deadline, streamed and not."""

import json
import random

import pytest
from scripted import ANSWER, MARKS, PROMPT, THINK, ScriptedBackend, decode, engine_of, writes

from onesec.budget.landing import Landing, ends_well
from onesec.budget.length import LengthModel
from onesec.core.deadline import Budget
from onesec.core.request import Request, SamplingParams
from onesec.engine.sequence import Delta, RequestOutput
from onesec.model.detokenize import StreamDecoder
from onesec.output import Answer

JSON = json.dumps(
    {
        "name": "Red kettle",
        "price": 45.5,
        "tags": ["kitchen", "red", "steel"],
        "stock": {"Berlin": 12, "Paris": 0},
        "note": "It is very quiet. It boils a litre in two minutes. Nobody complained so far.",
        "sold_out": False,
    },
    indent=1,
)
CODE = (
    "Here it is:\n\n```python\n" + "".join(f"value_{i} = {i} + {i}\n" for i in range(12)) + "```\n"
)
TABLE = "| Name | Price |\n|---|---|\n" + "".join(f"| Kettle {i} | {40 + i} |\n" for i in range(12))
PROSE = (
    "The kettle is red. **It is very quiet. Really.** It costs 45.50 today. Nobody complained. " * 3
)
FORMS = {"json": JSON, "code": CODE, "table": TABLE, "prose": PROSE}


class _Decoder(StreamDecoder):
    """The tests' tokens as text."""

    def __init__(self) -> None:
        pass

    def push(self, token: int) -> str:
        return chr(token) if token not in (0, THINK, ANSWER) else ""


def run(
    backend: ScriptedBackend, ms: float | None, *, stream: bool, **options: object
) -> tuple[RequestOutput, list[Delta], str]:
    """The output, the deltas, and the text as an Answer puts it together; what streams show must
    never be taken back."""
    params = {"max_tokens": 2000, **options.pop("params", {})}  # type: ignore[dict-item]
    request = Request(
        id="a",
        prompt_tokens=(*PROMPT, *options.pop("prompt", ())),  # type: ignore[misc]
        params=SamplingParams(**params),
        budget=Budget(total_ms=ms),
    )
    backend.prompt_length = len(request.prompt_tokens)
    engine = engine_of(backend, **options)
    sequence = engine.add_request(request, stream=stream)
    deltas: list[Delta] = []
    answer = Answer(request, _Decoder())
    shown = ""
    while engine.has_work:
        for delta in engine.step():
            deltas.append(delta)
            answer.add(delta)
            if stream:
                shown += answer.take()
    text = answer.output().text
    if stream:
        assert shown == text
    output = sequence.output()
    assert [token for delta in deltas for token in delta.tokens] == list(output.tokens)
    assert output.closing == deltas[-1].closing == output.trace.events[-1].detail["closing"]
    return output, deltas, text


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("stream", [False, True])
def test_every_budget_lands(form: str, stream: bool) -> None:
    whole = FORMS[form]
    landed = cut = 0
    for ms in range(24, len(whole) + 40, 3):
        output, _, text = run(ScriptedBackend(writes(whole)), float(ms), stream=stream)
        assert output.trace.met
        if output.ending == "natural":
            assert text == whole
            continue
        if output.ending == "cut":
            landing = Landing()
            landing.push(text)
            assert landing.end(len(text) if stream else 0) is None
            cut += 1
            continue
        landed += 1
        assert ends_well(text + "\n")
        kept = text.removesuffix(output.closing)
        assert whole.startswith(kept)
        if form == "json":
            json.loads(text)
        assert text.count("```") % 2 == 0
        assert text.count("**") % 2 == 0
    assert landed > 5
    assert cut == 0 or form != "json"
    assert cut <= landed / 3


def test_a_streamed_fence_is_closed_while_there_is_time() -> None:
    ending = [
        run(ScriptedBackend(writes(CODE)), float(ms), stream=True)[0].ending
        for ms in range(100, 200, 7)
    ]
    assert set(ending) <= {"landed", "natural"}


@pytest.mark.parametrize("stream", [False, True])
def test_json_in_a_fence_lands(stream: bool) -> None:
    whole = f"Here:\n```json\n{JSON}\n```"
    for ms in range(40, len(whole), 11):
        output, _, text = run(ScriptedBackend(writes(whole)), float(ms), stream=stream)
        assert output.ending == "landed"
        assert text.startswith("Here:\n```json\n")
        assert text.endswith("\n```")
        json.loads(text.removeprefix("Here:\n```json\n").removesuffix("```"))


def test_streamed_json_is_not_closed_in_the_middle_of_a_member_where_it_need_not_be() -> None:
    rows = json.dumps([{"id": i, "name": f"kettle {i}"} for i in range(40)])
    for ms in range(80, 700, 31):
        output, _, text = run(ScriptedBackend(writes(rows)), float(ms), stream=True)
        found = json.loads(text)
        assert output.ending == "landed"
        assert all(set(row) <= {"id", "name"} for row in found)
        assert None not in [value for row in found for value in row.values()]


# -- thinking ------------------------------------------------------------------------------------

REPLY = "The kettle costs 45 dollars. It is red. It is quiet. Nobody complained about it so far."


def thinker(thoughts: int, reply: str = REPLY, *, opened: bool = False):
    """Thinks for so many tokens, then answers; also when its thinking is closed from outside."""

    def script(done: list[int]) -> int:
        if not done and not opened:
            return THINK
        if ANSWER not in done:
            return ord("a. b. c?\n"[len(done) % 9]) if len(done) < thoughts else ANSWER
        at = len(done) - 1 - done[::-1].index(ANSWER)
        said = len([token for token in done[at + 1 :] if token != ord("\n")])
        return ord(reply[said]) if said < len(reply) else 0

    return script


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("opened", [False, True])
def test_an_answer_follows_thinking_at_every_budget(stream: bool, opened: bool) -> None:
    for ms in range(150 if stream else 60, 500, 17):
        backend = ScriptedBackend(thinker(10_000, opened=opened))
        output, _, text = run(
            backend, float(ms), stream=stream, thinking=MARKS, prompt=(THINK,) if opened else ()
        )
        assert output.trace.met
        assert output.ending in ("natural", "landed")
        tokens = list(output.tokens)
        at = tokens.index(ANSWER)
        assert tokens[at - 1 : at + 2] == list(MARKS.closing_ids)
        answer = text[text.rindex("\n", 0, text.index("The ")) + 1 :]
        assert REPLY.startswith(answer)
        assert answer.rstrip().endswith(".")
        events = [event for event in output.trace.events if event.kind == "close_thinking"]
        assert len(events) == 1
        assert events[0].detail["tokens"] == 3


def test_thinking_that_ends_by_itself_is_left_alone() -> None:
    output, _, text = run(
        ScriptedBackend(thinker(50)), 1000.0, stream=False, thinking=MARKS, prompt=()
    )
    assert output.ending == "natural"
    assert text.endswith(REPLY)
    assert not [event for event in output.trace.events if event.kind == "close_thinking"]
    output, _, _ = run(ScriptedBackend(thinker(500)), None, stream=False, thinking=MARKS)
    assert output.ending == "natural"  # without a deadline nobody hurries


def test_the_reserve_follows_what_answers_need() -> None:
    """More is kept free for answers once they are known to be long."""
    closed = {}
    for words in (2, 60):
        reply = "Red. " * words
        backend = ScriptedBackend(thinker(50, reply))
        engine = engine_of(backend, thinking=MARKS, length=LengthModel())
        for i in range(30):
            engine.add_request(_ask(f"learn{i}", None))
            while engine.has_work:
                engine.step()
        backend.script = thinker(10_000, reply)
        sequence = engine.add_request(_ask("timed", 900.0))
        while engine.has_work:
            engine.step()
        closed[words] = sequence.tokens.index(ANSWER)
        assert decode(sequence.tokens).rstrip().endswith(reply.rstrip())
    assert closed[2] > closed[60] + 100


def _ask(name: str, ms: float | None) -> Request:
    params = SamplingParams(max_tokens=2000)
    return Request(id=name, prompt_tokens=PROMPT, params=params, budget=Budget(total_ms=ms))


def test_tokens_put_in_tell_no_probabilities() -> None:
    backend = ScriptedBackend(thinker(10_000))
    output, _, _ = run(backend, 200.0, stream=False, thinking=MARKS, params={"logprobs": 2})
    assert len(output.logprobs) == len(output.tokens) == len(output.top) == len(output.entropies)
    at = output.tokens.index(ANSWER)
    assert output.logprobs[at - 1 : at + 2] == (0.0, 0.0, 0.0)
    assert output.top[at] == []
    assert set(output.logprobs) == {0.0, -0.5}


def test_the_sampler_hears_of_tokens_put_in() -> None:
    engine = engine_of(ScriptedBackend(thinker(10_000)), thinking=MARKS)
    sequence = engine.add_request(_ask("a", 400.0))
    while engine.has_work:
        engine.step()
    assert ANSWER in sequence.tokens
    assert sequence.sampler.seen == len(PROMPT) + len(MARKS.closing_ids)


def test_thinking_is_closed_beside_others_and_with_few_blocks() -> None:
    rng = random.Random(1)
    backend = ScriptedBackend(thinker(10_000))
    engine = engine_of(backend, thinking=MARKS)
    sequences = []
    for i in range(6):
        sequences.append(engine.add_request(_ask(f"r{i}", rng.uniform(500.0, 900.0))))
        engine.step()
    while engine.has_work:
        engine.step()
    assert all(sequence.ending in ("natural", "landed") for sequence in sequences)
    assert all(sequence.trace.met for sequence in sequences)
    assert all(ANSWER in sequence.tokens for sequence in sequences)
