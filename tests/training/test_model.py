"""The network's own attention against torch's."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from training.model import causal_attention  # noqa: E402


@pytest.mark.parametrize("shape", [(2, 4, 2, 17), (1, 4, 4, 5), (3, 4, 1, 1)])
def test_causal_attention_is_torchs_forth_and_back(shape: tuple[int, int, int, int]) -> None:
    rows, heads, shared, length = shape
    torch.manual_seed(0)
    given = [torch.randn(rows, n, length, 8, requires_grad=True) for n in (heads, shared, shared)]
    again = [x.detach().clone().requires_grad_() for x in given]
    ours = causal_attention(*given)
    theirs = torch.nn.functional.scaled_dot_product_attention(
        *again, is_causal=True, enable_gqa=True
    )
    torch.testing.assert_close(ours, theirs)
    for out in (ours, theirs):
        (out * torch.arange(out.numel()).view_as(out).cos()).sum().backward()
    for x, y in zip(given, again, strict=True):
        torch.testing.assert_close(x.grad, y.grad)
