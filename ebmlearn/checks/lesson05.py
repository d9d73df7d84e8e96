"""Exercises of lesson 05: the leapfrog, split R-hat, the swap of parallel tempering."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from .base import Answer, problem, require, require_close, require_tensor


def _bowl(x: Tensor) -> Tensor:
    return x


def _wells(x: Tensor) -> Tensor:
    return 8 * x * (x**2 - 1) + 0.3


def _phase(*shape: int) -> tuple[Tensor, Tensor]:
    return torch.randn(*shape, dtype=torch.float64), torch.randn(*shape, dtype=torch.float64)


def _pair(out: Answer, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    require(isinstance(out, (tuple, list)) and len(out) == 2, "your result is not a pair (x, p)")
    return require_tensor(out[0], shape, "the position"), require_tensor(out[1], shape, "the momentum")


@problem(
    "Return (x, p) after `steps` leapfrog steps of size eps; grad(x) is the gradient of the energy at x[*batch, d].",
    hints=[
        "One step: half a step of the momentum, a whole step of the position, half a step of the momentum.",
        "The momentum changes by minus the gradient, the position by plus the momentum.",
        "The gradient at the end of a step is the one at the start of the next: keep it, and steps + 1 gradients are enough.",
    ],
)
def leapfrog(grad: Callable[[Tensor], Tensor], x: Tensor, p: Tensor, eps: float, steps: int) -> tuple[Tensor, Tensor]:
    g = grad(x)
    for _ in range(steps):
        p = p - 0.5 * eps * g
        x = x + eps * p
        g = grad(x)
        p = p - 0.5 * eps * g
    return x, p


@leapfrog.property
def keeps_shapes_and_inputs(f: Answer) -> None:
    for shape in ((5, 2), (4, 3, 1)):
        x, p = _phase(*shape)
        before = x.clone(), p.clone()
        _pair(f(_wells, x, p, 0.1, 3), shape)
        require(torch.equal(x, before[0]) and torch.equal(p, before[1]), "the points that you were given were changed in place")


@leapfrog.property
def free_flight(f: Answer) -> None:
    x, p = _phase(6, 2)
    y, r = _pair(f(torch.zeros_like, x, p, 0.3, 4), (6, 2))
    require_close(r, p, "without a force the momentum changes")
    require_close(y, x + 1.2 * p, "without a force, 4 steps of 0.3 do not move x by 1.2 p")


@leapfrog.property
def energy_on_the_bowl(f: Answer) -> None:
    """On E = |x|²/2 the leapfrog keeps p²/2 + (1 - eps²/4) x²/2 to all digits."""
    x, p = _phase(50, 1)
    for eps, steps in ((0.05, 60), (0.9, 1), (0.9, 7)):
        y, r = _pair(f(_bowl, x, p, eps, steps), (50, 1))
        grown = ((y**2 + r**2) / (x**2 + p**2)).log().mean().item()
        allowed = 0.5 * eps**2 + 1e-9
        require(
            abs(grown) < allowed + 0.1,
            f"on the bowl, after {steps} steps of {eps}, H has changed by a factor {math.exp(grown):.2f}",
        )
        kept = lambda a, b, e=eps: b**2 + (1 - e**2 / 4) * a**2
        require_close(
            kept(y, r), kept(x, p), f"on the bowl the orbit leaves its ellipse ({steps} steps of {eps})", atol=1e-8, rtol=1e-8
        )


@leapfrog.property
def direction_of_time(f: Answer) -> None:
    x, p = _phase(20, 1)
    y, _ = _pair(f(_bowl, x, p, 0.01, 50), (20, 1))
    require(
        (y - (math.cos(0.5) * x + math.sin(0.5) * p)).abs().max() < 1e-3,
        "on the bowl, after the time 0.5, x is not where it should be",
    )


@leapfrog.property
def can_be_reversed(f: Answer) -> None:
    x, p = _phase(30, 2)
    for steps in (1, 6):
        y, r = _pair(f(_wells, x, p, 0.05, steps), (30, 2))
        back, turned = _pair(f(_wells, y, -r, 0.05, steps), (30, 2))
        gap = max((back - x).abs().max().item(), (turned + p).abs().max().item())
        require(gap < 1e-8, f"with the momentum turned round, {steps} steps do not lead back to the start (off by {gap:.1e})")


@leapfrog.property
def costs_one_gradient_a_step(f: Answer) -> None:
    calls = 0

    def counted(x: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return x

    f(counted, *_phase(3, 1), 0.1, 10)
    require(calls <= 11, f"10 steps asked for the gradient {calls} times")


@problem(
    "Return split R-hat [d] of chains x[steps, chains, d] with an even number of steps.",
    hints=[
        "First make twice as many chains of half the length: torch.cat of the two halves along the axis of the chains.",
        "W: the variance of each half chain along the steps, averaged over half chains. B: the variance of their means.",
        "sqrt(((n - 1)/n W + B)/W), n the steps of a half. Both variances divide by (count - 1), as .var does.",
    ],
)
def rhat(x: Tensor) -> Tensor:
    n = len(x) // 2
    halves = torch.cat([x[:n], x[n:]], 1)
    within = halves.var(0).mean(0)
    between = halves.mean(0).var(0)
    return ((within * (n - 1) / n + between) / within).sqrt()


def _chains(steps: int, chains: int, d: int) -> Tensor:
    return torch.randn(steps, chains, d, dtype=torch.float64)


@rhat.property
def one_number_a_coordinate(f: Answer) -> None:
    require_tensor(f(_chains(40, 4, 3)), (3,), "R-hat of 4 chains of 3 coordinates")
    require_tensor(f(_chains(20, 7, 1)), (1,), "R-hat of 7 chains of 1 coordinate")


@rhat.property
def one_where_chains_agree(f: Answer) -> None:
    r = require_tensor(f(_chains(4000, 4, 2)), (2,))
    require((r - 1).abs().max() < 0.01, f"independent draws of one law give {r[0]:.3f}, not 1")


@rhat.property
def sees_chains_that_differ(f: Answer) -> None:
    x = _chains(1000, 4, 1) + torch.tensor([-5.0, -5.0, 5.0, 5.0], dtype=torch.float64)[:, None]
    r = require_tensor(f(x), (1,))[0]
    require(r > 3, f"chains that sit 10 standard deviations apart give only {r:.3f}")


@rhat.property
def sees_a_drift(f: Answer) -> None:
    x = _chains(1000, 4, 1) + torch.linspace(4, 0, 1000, dtype=torch.float64)[:, None, None]
    r = require_tensor(f(x), (1,))[0]
    require(r > 1.2, f"four chains that drift alike from 4 to 0 give {r:.3f}, as if all were well")


@rhat.property
def free_of_scale_and_level(f: Answer) -> None:
    x = _chains(200, 3, 1) + torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)[:, None]
    r = require_tensor(f(x), (1,))
    require_close(f(7 * x - 100), r, "R-hat changes when x is measured in other units")


@rhat.property
def a_case_by_hand(f: Answer) -> None:
    """Two chains of four steps: halves (0, 2), (2, 4), (1, 1), (5, 1)."""
    x = torch.tensor([[0.0, 1.0], [2.0, 1.0], [2.0, 5.0], [4.0, 1.0]], dtype=torch.float64)[..., None]
    # variances of halves 2, 0, 2, 8: W = 3; means 1, 1, 3, 3: B = 4/3
    require_close(f(x), [math.sqrt((0.5 * 3 + 4 / 3) / 3)], "two chains of four steps, worked out on paper, give another value")


@problem(
    "Return the probability with which the swap of two replicas is accepted, from their energies and temperatures t_cold < t_hot.",
    hints=[
        "Before the swap the pair has the log density -e_cold/t_cold - e_hot/t_hot. And after it?",
        "Metropolis: min(1, exp(after - before)). The difference is a product of two brackets.",
        "If the hot replica has the lower energy, the swap is always accepted.",
    ],
)
def swap_probability(e_cold: Tensor, e_hot: Tensor, t_cold: float, t_hot: float) -> Tensor:
    s = (1 / t_cold - 1 / t_hot) * (e_cold - e_hot)
    return s.clamp(max=0).exp()


def _energies() -> tuple[Tensor, Tensor]:
    return 3 * torch.rand(8, 5, dtype=torch.float64), 3 * torch.rand(8, 5, dtype=torch.float64)


@swap_probability.property
def a_probability_for_each_pair(f: Answer) -> None:
    p = require_tensor(f(*_energies(), 1.0, 2.5), (8, 5), "the probabilities of 8 x 5 pairs")
    require((p >= 0).all() and (p <= 1 + 1e-9).all(), "some results are not probabilities")


@swap_probability.property
def good_news_is_always_taken(f: Answer) -> None:
    a, b = _energies()
    low, high = torch.minimum(a, b), torch.maximum(a, b)
    require_close(
        f(high, low, 1.0, 2.5), torch.ones(8, 5), "where the hot replica has the lower energy the swap should be certain"
    )
    p = require_tensor(f(low, high + 0.5, 1.0, 2.5), (8, 5))
    require((p < 1).all(), "where the hot replica has the higher energy some swaps are certain")


@swap_probability.property
def balance(f: Answer) -> None:
    """The flow of probability to the swapped pair is the flow back."""
    a, b = _energies()
    for cold, hot in ((1.0, 2.0), (0.5, 4.0)):
        there = -a / cold - b / hot + require_tensor(f(a, b, cold, hot), (8, 5)).log()
        back = -b / cold - a / hot + require_tensor(f(b, a, cold, hot), (8, 5)).log()
        require(
            torch.allclose(there, back, atol=1e-6),
            f"at temperatures {cold} and {hot} the flow to the swapped pair does not balance the flow back",
        )


@swap_probability.property
def level_and_equal_heat(f: Answer) -> None:
    a, b = _energies()
    require_close(
        f(a + 500, b + 500, 1.0, 2.0),
        require_tensor(f(a, b, 1.0, 2.0), (8, 5)),
        "a constant added to the energy changes the swaps",
    )
    require_close(f(a, b, 2.0, 2.0), torch.ones(8, 5), "at equal temperatures every swap should be accepted")
    require_close(
        f(a + 2000, b, 1.0, 2.0), torch.ones(8, 5), "a large difference of energies gives something else than certainty"
    )
