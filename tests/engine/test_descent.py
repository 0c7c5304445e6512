"""Descent: which good end is taken, and what is shown meanwhile."""

import pytest

from onesec.engine.descent import Descent

SAID = "One is red. Two is red. Ten is red. "  # sentences of 12 characters


def descent(text: str, until: int, *, patient: bool = True, may_trim: bool = False) -> Descent:
    """A landing of a text of one token a character."""
    return Descent(
        text,
        begin=0,
        tokens=len(text),
        answer_tokens=len(text),
        until=len(text) + until,
        may_trim=may_trim,
        json=False,
        patient=patient,
    )


def written(landing: Descent, more: str, text: str = SAID) -> tuple[int, list[int]]:
    """Where the answer ends (0: nowhere), and the characters shown after each token."""
    shown = [len(text)]
    for count, char in enumerate(more, start=len(text) + 1):
        landing.landing.push(char)
        end = landing.look(count, shown[-1])
        if end is not None:
            return end.keep, shown
        shown.append(max(shown[-1], landing.held()))
    return 0, shown


@pytest.mark.parametrize("may_trim", [False, True])
def test_an_end_is_passed_over_where_another_sentence_fits(may_trim: bool) -> None:
    more = "Six is red. Red is a colour. "
    first, second = len(SAID) + 11, len(SAID) + 28
    assert written(descent(SAID, 22, may_trim=may_trim), more)[0] == first
    assert written(descent(SAID, 30, may_trim=may_trim), more)[0] == second
    hurried = descent(SAID, 30, may_trim=may_trim, patient=False)
    assert written(hurried, more)[0] == first


def test_what_follows_an_end_that_was_passed_over_is_held_back() -> None:
    begun = SAID + "Six is"
    _, shown = written(descent(begun, 40), " red. Red is a co", begun)
    assert shown[5] == len(begun) + 5  # a sentence that was begun is shown as it comes
    assert set(shown[5:]) == {len(begun) + 5}  # the next one is not, until it ends


def test_a_text_that_ends_well_goes_on_where_there_is_time() -> None:
    whole = SAID.rstrip()
    assert descent(whole, 11).begins_at_end(len(whole))
    longer = descent(whole, 13)
    assert not longer.begins_at_end(len(whole))
    assert longer.held() == len(whole)
    assert descent(whole, 13, patient=False).begins_at_end(len(whole))
    wide = Descent(SAID, begin=0, tokens=9, answer_tokens=9, until=14, may_trim=False,
                   json=False, patient=True)  # fmt: skip
    assert not wide.begins_at_end(9)  # five tokens of four characters are enough


def test_too_few_sentences_tell_nothing() -> None:
    few = "One is red. Two is red. "
    assert written(descent(few, 200), "Six is red. ", few)[0] == len(few) + 11
    landing = descent("Go on", 50)
    landing.landing.push(". ")
    end = landing.look(7, 7)
    assert end is not None
    assert end.keep == 7  # white space that was shown stays
