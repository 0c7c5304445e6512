"""Muon: momentum whose matrices are made orthogonal before each update (Jordan et al., 2024).

torch.optim.Muon multiplies in bfloat16, fifty times slower than float32 on processors without
instructions for it; this one is told in what to multiply. It must not know which model it trains.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

# Newton-Schulz iteration of degree five: coefficients that bring singular values near 1 quickly.
_A, _B, _C, _STEPS = 3.4445, -4.7750, 2.0315, 5


def orthogonal(matrices: Tensor, half: bool = False) -> Tensor:
    """The nearest semi-orthogonal matrices [..., out, in], nearly: singular values 0.7 to 1.2.

    `half`: products are of bfloat16.
    """
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    x = x.bfloat16() if half else x
    for _ in range(_STEPS):
        square = x @ x.mT
        x = _A * x + (_B * square + _C * square @ square) @ x
    x = x.to(matrices.dtype)
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """For matrices [out, in] alone; updates have the root mean square of AdamW's (2502.16982).

    Matrices of one shape are multiplied together: a step is a few large products.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float,
        weight_decay: float,
        half: bool = False,
        momentum: float = 0.95,
    ) -> None:
        self._half = half
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update of every matrix that has a gradient."""
        assert closure is None
        for group in self.param_groups:
            alike: dict[torch.Size, list[Tensor]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    alike.setdefault(p.shape, []).append(p)
            for shape, matrices in alike.items():
                for p in matrices:
                    if not self.state[p]:
                        self.state[p]["momentum"] = torch.zeros_like(p)
                means = [self.state[p]["momentum"] for p in matrices]
                gradients = [p.grad for p in matrices]
                torch._foreach_lerp_(means, gradients, 1 - group["momentum"])
                ahead = torch._foreach_lerp(gradients, means, group["momentum"])
                updates = orthogonal(torch.stack(ahead), self._half).unbind()
                torch._foreach_mul_(matrices, 1 - group["lr"] * group["weight_decay"])
                torch._foreach_add_(matrices, updates, alpha=-group["lr"] * 0.2 * max(shape) ** 0.5)
