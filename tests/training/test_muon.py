"""Muon against torch's own, which computes the same in bfloat16."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from training.muon import Muon, orthogonal  # noqa: E402


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("shape", [(64, 96), (96, 64), (32, 32)])
def test_updates_are_those_of_torch(shape: tuple[int, int], half: bool) -> None:
    torch.manual_seed(0)
    ours = torch.nn.Parameter(torch.randn(shape))
    start = ours.detach().clone()
    theirs = torch.nn.Parameter(start.clone())
    optimizers = (
        Muon([ours], lr=0.01, weight_decay=0.05, half=half),
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
    # bfloat16 has 8 bits: theirs is off by up to 2 %, and two that round by the root of two more.
    bound = 0.02 * 2**0.5 if half else 0.02
    assert (ours.detach() - theirs.detach()).norm() < bound * moved.norm()


@pytest.mark.parametrize("half", [False, True])
def test_the_singular_values_come_near_one(half: bool) -> None:
    torch.manual_seed(1)
    low, high = torch.linalg.svdvals(orthogonal(torch.randn(48, 80), half)).aminmax()
    assert low > 0.6
    assert high < 1.3
