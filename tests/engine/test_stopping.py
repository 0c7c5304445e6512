from hypothesis import given
from hypothesis import strategies as st

from onesec.core.request import SamplingParams
from onesec.core.thinking import ThinkingMarks
from onesec.engine.stopping import GrowingText, Stop, StopCheck

EOS = 0


def decode(ids: list[int]) -> str:
    return "".join(chr(i) for i in ids if i != EOS)


def run(text: str, limit: int = 100, land_at: int | None = None, **params: object):
    tokens: list[int] = []
    check = StopCheck(
        SamplingParams(**params),  # type: ignore[arg-type]
        eos_ids=(EOS,),
        limit=limit,
        tokens=tokens,
        decode=decode,
    )
    shown = []
    for i, char in enumerate(text):
        if i == land_at:
            stop = check.land(20, may_trim=True, patient=False)
            if stop:
                return stop, decode(tokens), shown
        stop = check.add(ord(char))
        shown.append(check.show())
        if stop:
            return stop, decode(tokens), shown
    return None, decode(tokens), shown


def test_the_end_token_ends_and_is_left_out() -> None:
    stop, text, _ = run("ab\0cd")
    assert (stop, text) == (Stop("stop", None, "natural", keep_token=False), "ab")


def test_ignore_eos_and_min_tokens() -> None:
    assert run("ab\0cd", ignore_eos=True)[0] is None
    assert run("a\0b\0", min_tokens=3)[1] == "a\0b".replace("\0", "")
    assert run("a\0b\0", min_tokens=3)[0] is not None


def test_stop_tokens_end_with_their_id() -> None:
    stop, text, _ = run("abcd", stop_token_ids=(ord("c"),))
    assert (stop, text) == (Stop("stop", ord("c"), "natural", keep_token=False), "ab")


def test_what_is_thought_again_is_no_answer() -> None:
    tokens: list[int] = []
    marks = ThinkingMarks(open_id=1, close_id=2, closing_ids=(2,))
    check = StopCheck(SamplingParams(), eos_ids=(), limit=99, tokens=tokens, decode=decode,
                      marks=marks, thinking=True)  # fmt: skip
    told = []
    for token in (5, 2, 6, 7, 1, 8):
        check.add(token)
        told.append((check.thinking, check.answer_tokens))
    assert told == [(True, None), (False, 0), (False, 1), (False, 2), (True, None), (True, None)]


def test_max_tokens_cuts() -> None:
    stop, text, _ = run("abcdef", limit=3)
    assert (stop, text) == (Stop("length", None, "cut"), "abc")


def test_stop_strings_trim_at_the_earliest_and_hold_back_what_could_become_one() -> None:
    stop, text, shown = run("xxEN yEND", stop=("END",))
    assert stop == Stop("stop", "END", "natural", text_chars=6)
    assert text[: stop.text_chars] == "xxEN y"
    assert shown[:6] == [1, 2, 2, 2, 5, 6]
    assert run("say no more", stop=("more", "o m"))[0].stop_reason == "o m"
    assert run("END here END", stop=("END",), min_tokens=5)[0].text_chars == 9
    # What min_tokens has let pass stays passed, also where a longer stop string looks back on it.
    assert run("END here END", stop=("END", "x" * 9), min_tokens=5)[0].text_chars == 9


def test_landing_ends_at_the_next_sentence() -> None:
    assert run("One. Two. Three. Four", land_at=6)[0].text_chars == 9
    stop, text, _ = run("One. Two. Three. Four", land_at=9)
    assert (stop.ending, text) == ("landed", "One. Two.")
    assert run("It is 3.5 cm. Yes", land_at=2)[0].text_chars == 13
    assert run("no end", land_at=2)[0] is None
    assert len(run("One. Two. Three. Four", land_at=4, min_tokens=6)[1]) >= 6


def test_out_of_time_lands_where_it_can() -> None:
    def out(text: str, may_trim: bool) -> Stop:
        tokens = [ord(c) for c in text]
        check = StopCheck(SamplingParams(), eos_ids=(), limit=99, tokens=tokens, decode=decode)
        return check.out_of_time(may_trim=may_trim)

    assert out("One. Two", True) == Stop("stop", "deadline", "landed", text_chars=4)
    assert out("One. Two", False) == Stop("length", "deadline", "cut")
    assert out("One.", False) == Stop("stop", "deadline", "landed")
    assert out("One", True) == Stop("length", "deadline", "cut")
    assert out("", True) == Stop("length", "deadline", "cut")


def test_growing_text_waits_for_the_rest_of_a_character() -> None:
    pieces = {1: b"a", 2: b"\xe5", 3: b"\xa5", 4: b"\xbd"}  # 2, 3, 4: one Chinese character

    def from_bytes(ids: list[int]) -> str:
        return b"".join(pieces[i] for i in ids).decode(errors="replace")

    text = GrowingText(from_bytes)
    assert [text.append(i) for i in (1, 2, 3, 4, 1)] == ["a", "", "", "好", "a"]
    assert text.text == "a好a"


def test_bytes_that_are_no_text_are_not_waited_for_forever() -> None:
    text = GrowingText(lambda ids: bytes(ids).decode(errors="replace"))
    for _ in range(20):
        text.append(0xFF)
    assert len(text.text) >= 10


@given(st.lists(st.sampled_from(list(b"a\xe5\xa5\xbd\xff")), max_size=40))
def test_growing_text_agrees_with_decoding_all_at_once(data: list[int]) -> None:
    def from_bytes(ids: list[int]) -> str:
        return bytes(ids).decode(errors="replace")

    text = GrowingText(from_bytes)
    for byte in data:
        text.append(byte)
    if "\ufffd" not in from_bytes(data):
        assert from_bytes(data) == text.text


@given(st.text(alphabet="abE", max_size=30), st.sampled_from([("ab",), ("Ea", "bb"), ("aEa",)]))
def test_text_shown_is_never_taken_back(text: str, stop: tuple[str, ...]) -> None:
    result, whole, shown = run(text, stop=stop)
    end = len(whole) if result is None else result.text_chars
    hits = [text.find(s) for s in stop if s in text]
    if result is None:
        assert not hits
    else:
        assert not any(s in whole[:end] for s in stop)
        shown.pop()
    assert shown == sorted(shown)
    assert all(count <= end for count in shown)


def test_a_token_without_text_does_not_shorten_the_next_one() -> None:
    def without_a_leading_space(ids: list[int]) -> str:
        text = "".join({1: " a", 2: "", 3: " b"}[token] for token in ids)
        return text.removeprefix(" ")

    text = GrowingText(without_a_leading_space)
    for token in (2, 1, 2, 3):
        text.append(token)
    assert text.text == without_a_leading_space([2, 1, 2, 3]) == "a b"


def test_a_space_that_opens_a_text_is_no_reason_to_cut_a_character() -> None:
    """SentencePiece leaves the first space out: of "▁" alone nothing is left, and of "▁Hello"
    behind it a space is."""
    pieces = ["", "▁", "▁Hello", "▁fox", ".", "▁dog"]

    def spoken(ids: list[int]) -> str:
        return "".join(pieces[i] for i in ids).replace("▁", " ").removeprefix(" ")

    ids = [1, 2, 3, 4, 5]
    text = GrowingText(spoken)
    for token in ids:
        text.append(token)
    assert text.text == spoken(ids) == " Hello fox. dog"
    tokens: list[int] = []
    params = SamplingParams(stop=(" dog",))
    check = StopCheck(params, eos_ids=(EOS,), limit=99, tokens=tokens, decode=spoken)
    *_, stop = [check.add(token) for token in ids]
    assert stop is not None
    assert spoken(tokens)[: stop.text_chars] == " Hello fox."
