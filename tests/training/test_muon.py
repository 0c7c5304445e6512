"""Muon against torch's own, which computes the same in bfloat16."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from training.muon import Muon, orthogonal  # noqa: E402


@pytest.mark.parametrize("shape", [(64, 96), (96, 64), (32, 32)])
def test_updates_are_those_of_torch(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    ours = torch.nn.Parameter(torch.randn(shape))
    start = ours.detach().clone()
    theirs = torch.nn.Parameter(start.clone())
    optimizers = (
        Muon([ours], lr=0.01, weight_decay=0.05),
        torch.optim.Muon(
            [theirs], lr=0.01, weight_decay=0.05, momentum=0.95, adjust_lr_fn="match_rms_adamw"
        ),
    )
    for _ in range(3):
        ours.grad = torch.randn(shape)
        theirs.grad = ours.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    moved = theirs.detach() - start
    assert (ours.detach() - theirs.detach()).norm() < 0.02 * moved.norm()  # bfloat16: 8 bits


def test_the_singular_values_come_near_one() -> None:
    torch.manual_seed(1)
    low, high = torch.linalg.svdvals(orthogonal(torch.randn(48, 80))).aminmax()
    assert low > 0.6
    assert high < 1.3
