import numpy as np
import pytest

from onesec.backend.sampling import sampler
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


def test_tokens_beyond_the_mask_are_not_allowed() -> None:
    state = sampler(SamplingParams(temperature=5.0, seed=1), eos_ids=())
    for _ in range(100):
        state.allow(words(3, 31)[:1])
        assert state.draw(LOGITS, 0)[0] in (3, 31)
