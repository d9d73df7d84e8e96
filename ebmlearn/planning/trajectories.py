"""Energies of whole trajectories: what a plan should be, as a sum of terms, and how to find one of low energy.

A trajectory is `[T + 1, d]`, the start first; all energies here have `event_ndim = 2` and add up with `+` and `*`. `of_moves` makes
such a sum an energy of the T moves, so that the start stays where it is and any sampler of the package can plan.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..energies.base import Energy, FromFunction
from ..functional import EnergyFunction, check_generator, check_values
from .worlds import PointRobot, World

PairEnergy = Callable[[Tensor, Tensor], Tensor]


class FollowEnergy(Energy):
    """sum_t E(s_t, s_{t+1}): every state can follow the one before it.

    Args:
        pair: a learned energy of transitions, `(s[m, d], s'[m, d]) -> [m]`.

    References:
        Model based planning with energy based models (Du, Lin, Mordatch, 2019), section 3.
    """

    event_ndim = 2

    def __init__(self, pair: PairEnergy) -> None:
        super().__init__()
        self.pair = pair

    def forward(self, x: Tensor) -> Tensor:
        a, b = x[..., :-1, :], x[..., 1:, :]
        d = x.shape[-1]
        return self.pair(a.reshape(-1, d), b.reshape(-1, d)).reshape(a.shape[:-1]).sum(-1)


class GoalEnergy(Energy):
    """|s_T - goal|².

    Args:
        goal: `[d]`, or one for each trajectory, `[*batch, d]`.
    """

    event_ndim = 2

    def __init__(self, goal: Tensor) -> None:
        super().__init__()
        self.register_buffer("goal", goal)

    def forward(self, x: Tensor) -> Tensor:
        return (x[..., -1, :] - self.goal).square().sum(-1)


class LengthEnergy(Energy):
    """sum_t |s_{t+1} - s_t|: the length of the path, rounded off below `smooth` so that a robot at rest has a gradient of 0.

    Each move counts sqrt(|move|² + smooth²) - smooth.

    Args:
        smooth: a length far below one move.
    """

    event_ndim = 2

    def __init__(self, *, smooth: float = 1e-3) -> None:
        super().__init__()
        if smooth <= 0:
            raise ValueError(f"expected smooth > 0; got {smooth}")
        self.smooth = smooth

    def forward(self, x: Tensor) -> Tensor:
        return ((x.diff(dim=-2).square().sum(-1) + self.smooth**2).sqrt() - self.smooth).sum(-1)


class SquaredLengthEnergy(Energy):
    """T sum_t |s_{t+1} - s_t|²: at least the square of the path's length, and equal to it when all moves are equally long."""

    event_ndim = 2

    def forward(self, x: Tensor) -> Tensor:
        return (x.shape[-2] - 1) * x.diff(dim=-2).square().sum((-2, -1))


class SmoothnessEnergy(Energy):
    """sum_t |s_{t+1} - 2 s_t + s_{t-1}|²: moves change little from one to the next."""

    event_ndim = 2

    def forward(self, x: Tensor) -> Tensor:
        return x.diff(n=2, dim=-2).square().sum((-2, -1))


class ObstacleEnergy(Energy):
    """sum over points of the path of relu(radius + margin - |p - centre|)²: a disc that no training data have seen.

    The points are the states and `between` more on each move, so that a move cannot jump over the disc.

    Args:
        centre: `[d]`.
        radius, margin: zero energy beyond radius + margin.
    """

    event_ndim = 2

    def __init__(self, centre: Tensor, *, radius: float, margin: float = 0.0, between: int = 1) -> None:
        super().__init__()
        if radius <= 0 or margin < 0 or between < 0:
            raise ValueError(f"expected radius > 0, margin >= 0 and between >= 0; got {radius}, {margin} and {between}")
        self.register_buffer("centre", centre)
        self.reach, self.between = radius + margin, between

    def forward(self, x: Tensor) -> Tensor:
        t = torch.arange(self.between + 1, dtype=x.dtype, device=x.device)[:, None, None] / (self.between + 1)
        a, b = x[..., None, :-1, :], x[..., None, 1:, :]
        inner = self._depth(a + t * (b - a)).sum((-2, -1))
        return inner + self._depth(x[..., -1, :])

    def _depth(self, p: Tensor) -> Tensor:
        return (self.reach - (p - self.centre).norm(dim=-1)).clamp_min(0).square()


class ClearanceEnergy(Energy):
    """sum over states of relu(margin - clearance)², with the signed distance of a known world: walls and sides of the square.

    Args:
        world: one world.
        margin: distance to keep.
    """

    event_ndim = 2

    def __init__(self, world: World, *, margin: float) -> None:
        super().__init__()
        if margin <= 0 or world.worlds:
            raise ValueError(f"expected margin > 0 and one world; got {margin} and a batch of shape {world.worlds}")
        self.world, self.margin = world, margin

    def forward(self, x: Tensor) -> Tensor:
        return (self.margin - self.world.clearance(x)).clamp_min(0).square().sum(-1)


def states_of(start: Tensor, moves: Tensor) -> Tensor:
    """The trajectory of a start `[*batch, d]` and moves `[*more, *batch, T, d]`: `[*more, *batch, T + 1, d]`."""
    first = start.unsqueeze(-2).expand(*moves.shape[:-2], 1, start.shape[-1])
    return torch.cat([first, first + moves.cumsum(-2)], -2)


def of_moves(energy: EnergyFunction, start: Tensor) -> Energy:
    """An energy of trajectories as an energy of their moves `[*batch, T, d]`; the start `[*batch, d]` cannot move.

    A step of Langevin in the moves shifts all later states along, so that a goal pulls the whole path, not its last state only.

    Example:
        >>> to_goal = of_moves(GoalEnergy(torch.tensor([1.0, 0.0])), torch.tensor([[0.0, 0.0]]))
        >>> to_goal(torch.full((1, 5, 2), 0.2)).item()  # five moves of (.2, .2) end at (1, 1)
        1.0
    """
    return FromFunction(lambda moves: energy(states_of(start, moves)), event_ndim=2)


def straight(start: Tensor, goal: Tensor, steps: int) -> Tensor:
    """Equal moves from start to goal: `[*batch, steps, d]`."""
    if steps < 1:
        raise ValueError(f"expected steps >= 1; got {steps}")
    return ((goal - start) / steps).unsqueeze(-2).repeat_interleave(steps, -2)


def descend(energy: EnergyFunction, x: Tensor, steps: int, *, learning_rate: float = 0.01) -> Tensor:
    """Adam on the points themselves: the fastest way down, without any claim to sample.

    Args:
        energy: maps `[*batch, *event]` to `[*batch]`.
        x: where to begin.
    """
    x = x.detach().clone().requires_grad_(True)
    optimizer = torch.optim.Adam([x], lr=learning_rate)
    with torch.enable_grad():
        for step in range(steps):
            e = energy(x)
            check_values(energy, x, e)
            (x.grad,) = torch.autograd.grad(e.sum(), x)
            if not bool(torch.isfinite(x.grad).all()):
                raise FloatingPointError(f"the gradient is not finite at step {step}; lower the learning rate")
            optimizer.step()
    return x.detach()


def mppi(
    energy: EnergyFunction,
    x: Tensor,
    steps: int,
    *,
    noise: float | Callable[[int], float],
    temperature: float,
    samples: int = 64,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Model predictive path integral: average noisy copies of a plan with weights exp(-E/T); no gradient needed.

    x <- sum_k w_k (x + noise xi_k), w = softmax_k(-E(x + noise xi_k) / T), where the plan itself is one of the copies.

    Args:
        energy: maps `[*batch, *event]` to `[*batch]`; it is called with `[samples, *batch, *event]`.
        x: where to begin, `[*batch, *event]`.
        noise: standard deviation of each entry, or a function of the step (see `schedules`).
        temperature: T > 0, in units of the energy.
        samples: noisy copies a step.

    References:
        Model predictive path integral control: from theory to parallel computation (Williams, Aldrich, Theodorou, 2017).

    Example:
        >>> g = torch.Generator().manual_seed(0)
        >>> bowl = lambda x: x.square().sum(-1)
        >>> x = mppi(bowl, torch.full((1, 2), 3.0), 100, noise=0.3, temperature=0.1, generator=g)
        >>> bool(bowl(x) < 0.05)
        True
    """
    if samples < 1 or temperature <= 0:
        raise ValueError(f"expected samples >= 1 and temperature > 0; got {samples} and {temperature}")
    check_generator(generator, x)
    x = x.detach()
    with torch.no_grad():
        for step in range(steps):
            sd = noise(step) if callable(noise) else noise
            xi = torch.randn((samples, *x.shape), generator=generator, dtype=x.dtype, device=x.device)
            xi[0] = 0
            e = energy(x + sd * xi)
            if e.ndim < 1 or e.shape[0] != samples or e.shape[1:] != x.shape[: e.ndim - 1]:
                raise ValueError(f"expected one energy for each copy, [{samples}, *batch]; got {tuple(e.shape)}")
            if bool(torch.isnan(e).any()):
                raise FloatingPointError(f"the energy is NaN at step {step}")
            w = torch.softmax(-e / temperature, 0)
            x = x + sd * (w.reshape(w.shape + (1,) * (xi.ndim - w.ndim)) * xi).sum(0)
    return x


@dataclass(frozen=True, eq=False)
class Outcome:
    """What happened when planned trajectories were followed in the true world, one entry a trajectory.

    Args:
        success: no move of the plan is too long, none was blocked, and the robot ends within `tolerance` of the goal.
        blocked: some move was blocked.
        longest: longest move of the plan.
        length: of the planned path.
        states: where the robot was, `[T + 1, *batch, d]`.
    """

    success: Tensor
    blocked: Tensor
    longest: Tensor
    length: Tensor
    states: Tensor


def execute(
    plan: Tensor, goal: Tensor, world: World, robot: PointRobot, *, tolerance: float = 0.05, slack: float = 1.05
) -> Outcome:
    """Follow a plan: at time t move towards its state t + 1, by at most the robot's `max_step`.

    Args:
        plan: `[*batch, T + 1, d]`.
        goal: `[*batch, d]`.
        world: the true world, which the plan may know nothing of.
        tolerance: distance from the goal that counts as reached.
        slack: moves may be so many times as long as the robot's longest; it then falls behind a little.
    """
    s = plan[..., 0, :]
    states, blocked = [s], torch.zeros(s.shape[:-1], dtype=torch.bool, device=s.device)
    for target in plan[..., 1:, :].unbind(-2):
        s, stopped = robot.move(world, s, target - s)
        blocked |= stopped
        states.append(s)
    reached = (s - goal).norm(dim=-1) < tolerance
    moves = plan.diff(dim=-2).norm(dim=-1)
    possible = moves.amax(-1) <= slack * robot.max_step
    return Outcome(reached & ~blocked & possible, blocked, moves.amax(-1), moves.sum(-1), torch.stack(states))
