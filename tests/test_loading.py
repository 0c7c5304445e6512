import pytest

from onesec import loading
from onesec.loading import load_model
from onesec.model.config import ModelConfig


@pytest.fixture(scope="module")
def config() -> ModelConfig:
    with load_model("onesec-mini", context=128, threads=1, sequences=3) as loaded:
        assert loaded.backend.num_blocks * loaded.backend.block_size == 3 * 128
        found: ModelConfig = loaded.backend.config  # type: ignore[union-attr]
        return found


@pytest.mark.parametrize(("free_bytes", "expected"), [(1 << 20, 2), (1 << 40, 64)])
def test_a_cache_of_no_set_size_has_bounds(
    monkeypatch: pytest.MonkeyPatch, config: ModelConfig, free_bytes: int, expected: int
) -> None:
    monkeypatch.setattr(loading, "free_memory_bytes", lambda: free_bytes)
    assert loading._sequences_at_hand(config, 128, "f16") == expected


def test_a_cache_of_no_set_size_holds_as_many_contexts_as_its_bytes_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loading, "_CACHE_BYTES", 4 << 20)
    with load_model("onesec-mini", context=128, threads=1, sequences=None) as loaded:
        backend = loaded.backend
        held = backend.num_blocks * backend.kv_block_bytes  # type: ignore[union-attr]
        one = held * 128 // (backend.num_blocks * backend.block_size)
        assert 4 << 20 >= held > (4 << 20) - one
