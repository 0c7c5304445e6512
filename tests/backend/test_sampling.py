import numpy as np
import pytest

from onesec.backend.sampling import sampler
from onesec.core.errors import ModelError
from onesec.core.request import SamplingParams

LOGITS = np.array([0.5, 3.0, 2.0, -1.0, 2.5] + [0.0] * 60, dtype=np.float32)


def words(*tokens: int) -> np.ndarray:
    mask = np.zeros((len(LOGITS) + 31) // 32, dtype=np.uint32)
    for token in tokens:
        mask[token // 32] |= np.uint32(1 << (token % 32))
    return mask


def test_the_next_token_alone_is_one_of_a_mask() -> None:
    state = sampler(SamplingParams(), eos_ids=())
    state.allow(words(2, 3, 64))
    assert not state.wants_argmax
    token, logprob, *_ = state.draw(LOGITS, 0)
    assert token == 2
    whole = np.log(np.exp(LOGITS.astype(np.float64)).sum())
    assert logprob == pytest.approx(2.0 - whole, abs=1e-5)
    assert state.wants_argmax
    assert state.draw(LOGITS, 0)[0] == 1


@pytest.mark.parametrize("params", [{}, {"top_k": 2}, {"top_p": 0.5}, {"min_p": 0.3}])
def test_sampling_stays_within_a_mask(params: dict[str, float]) -> None:
    state = sampler(SamplingParams(temperature=1.5, seed=3, **params), eos_ids=())  # type: ignore[arg-type]
    drawn = set()
    for _ in range(300):
        state.allow(words(0, 4, 33))
        drawn.add(state.draw(LOGITS, 0)[0])
    assert 4 in drawn
    assert drawn <= {0, 4, 33}


def test_a_mask_that_allows_nothing_is_an_error() -> None:
    state = sampler(SamplingParams(), eos_ids=())
    state.allow(words())
    with pytest.raises(ValueError, match="no token"):
        state.draw(LOGITS, 0)
    with pytest.raises(ValueError, match="words"):
        state.allow(np.zeros(0, dtype=np.uint32))


@pytest.mark.parametrize(
    "params", [{}, {"top_p": 0.9}, {"top_k": 2}, {"min_p": 0.3}, {"temperature": 0.0}]
)
@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite_are_an_error_and_change_nothing(
    params: dict[str, float], odd: float
) -> None:
    asked = SamplingParams(**{"temperature": 0.8, "seed": 3, "presence_penalty": 1.0, **params})  # type: ignore[arg-type]
    plain, disturbed = (sampler(asked, eos_ids=()) for _ in range(2))
    bad = LOGITS.copy()
    bad[-1] = odd
    for _ in range(20):
        for state in (plain, disturbed):
            state.allow(words(0, 1, 4, 33))
        for logits in (bad, np.full_like(LOGITS, odd)):
            with pytest.raises(ModelError, match="not finite"):
                disturbed.draw(logits, 2)
        assert disturbed.draw(LOGITS, 2) == plain.draw(LOGITS, 2)


def test_forced_tokens_count_as_the_answer() -> None:
    state = sampler(SamplingParams(min_tokens=3, stop_token_ids=(1,)), eos_ids=())
    assert state.draw(LOGITS, 0)[0] == 4  # 1, the likeliest, would end the answer
    state.force([7, 7])
    assert state.draw(LOGITS, 0)[0] == 1
    state = sampler(SamplingParams(presence_penalty=1.0, frequency_penalty=0.5), eos_ids=())
    state.observe([1])  # a prompt's tokens are free
    assert state.draw(LOGITS, 0)[0] == 1
    state.force([4, 4])
    assert state.draw(LOGITS, 0)[0] == 2  # the others have fallen to 1.5 and 0.5


def test_forced_tokens_leave_the_random_stream_where_it_is() -> None:
    plain, forced = (sampler(SamplingParams(temperature=1.0, seed=4), eos_ids=()) for _ in "ab")
    drawn = [plain.draw(LOGITS, 0)[0] for _ in range(20)]
    again = [forced.draw(LOGITS, 0)[0] for _ in range(10)]
    forced.force([1, 2, 3])
    assert again + [forced.draw(LOGITS, 0)[0] for _ in range(10)] == drawn


def test_tokens_beyond_the_mask_are_not_allowed() -> None:
    state = sampler(SamplingParams(temperature=5.0, seed=1), eos_ids=())
    for _ in range(100):
        state.allow(words(3, 31)[:1])
        assert state.draw(LOGITS, 0)[0] in (3, 31)
