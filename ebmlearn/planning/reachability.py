"""Learned reachability: how many steps from s to g, and which action first, from random walks alone; and a policy that follows waypoints."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from ..networks.fourier import AxisWaves
from ..networks.mlp import MLP
from .worlds import PointRobot, World

ACTIONS = 8


def directions(length: float) -> Tensor:
    """The eight actions: moves of one length to the east, north-east, ..., south-east, `[8, 2]`."""
    angle = torch.arange(ACTIONS) * (2 * math.pi / ACTIONS)
    return length * torch.stack([angle.cos(), angle.sin()], -1)


class Walks(NamedTuple):
    """Random walks: states `[steps + 1, episodes, 2]` and the actions between them, numbers `[steps, episodes]`."""

    states: Tensor
    actions: Tensor


def random_walks(
    world: World, robot: PointRobot, episodes: int, steps: int, *, sticky: float = 0.5, generator: torch.Generator | None = None
) -> Walks:
    """The replay buffer: walks from free points; with probability `sticky` an action is repeated, otherwise drawn anew.

    Args:
        episodes, steps: how many walks, and actions in each.
    """
    if episodes < 1 or steps < 1 or not 0 <= sticky < 1:
        raise ValueError(f"expected episodes, steps >= 1 and 0 <= sticky < 1; got {episodes}, {steps} and {sticky}")
    s = world.sample_free(episodes, generator=generator)
    moves = directions(robot.max_step).to(s)
    states, actions = [s], []
    a = torch.randint(ACTIONS, (episodes,), generator=generator)
    for _ in range(steps):
        fresh = torch.rand(episodes, generator=generator) >= sticky
        a = torch.where(fresh, torch.randint(ACTIONS, (episodes,), generator=generator), a)
        states.append(robot.move(world, states[-1], moves[a])[0])
        actions.append(a)
    return Walks(torch.stack(states), torch.stack(actions))


class _Nets(nn.Module):
    """Equal networks of (s, g), both scaled to [-1, 1], with waves along the axes: `[nets, *batch, out]`."""

    def __init__(self, low: float, high: float, out: int, *, nets: int, frequencies: int, hidden_features: Sequence[int]) -> None:
        super().__init__()
        if not low < high or nets < 1:
            raise ValueError(f"expected low < high and nets >= 1; got {low}, {high} and {nets}")
        self.low, self.high = low, high
        self.waves = AxisWaves(frequencies)
        width = 4 * (1 + 2 * frequencies)
        self.nets = nn.ModuleList(MLP(width, out, hidden_features=hidden_features) for _ in range(nets))

    def forward(self, s: Tensor, g: Tensor) -> Tensor:
        if s.shape[-1:] != (2,) or g.shape[-1:] != (2,):
            raise ValueError(f"expected states [*batch, 2]; got {tuple(s.shape)} and {tuple(g.shape)}")
        x = 2 * (torch.cat(torch.broadcast_tensors(s, g), -1) - self.low) / (self.high - self.low) - 1
        x = self.waves(x)
        return torch.stack([net(x) for net in self.nets])


class Reachability(nn.Module):
    """An ensemble of networks that read (s, g) and say the first action and the number of steps: 1, ..., `horizon`, or far.

    As an energy of pairs it is the expected number of steps, where far counts as `far_steps`:
    E(s, g) = max over nets of sum_k k p(k | s, g). The maximum is pessimistic: one net that has not seen a wall cannot draw an
    edge through it. E saturates at `far_steps`: it says whether g can be reached, not how far it is.

    Args:
        low, high: corners of the square.
        horizon: the longest walk that counts as near.
        far_steps: steps counted for "far".
        nets: size of the ensemble.
        frequencies: waves an axis, see `AxisWaves`; without them (0) the networks see no walls.
        hidden_features: widths of each network.

    References:
        Search on the replay buffer: bridging planning and reinforcement learning (Eysenbach, Salakhutdinov, Levine, 2019); there
        the distances come from Q-learning, see `DistanceCritic`.

    Example:
        >>> model = Reachability(low=0.0, high=11.0)
        >>> model(torch.zeros(5, 2), torch.ones(5, 2)).shape
        torch.Size([5])
    """

    def __init__(
        self,
        *,
        low: float,
        high: float,
        horizon: int = 8,
        far_steps: float = 30.0,
        nets: int = 2,
        frequencies: int = 6,
        hidden_features: Sequence[int] = (128, 128),
    ) -> None:
        super().__init__()
        if horizon < 1 or far_steps <= horizon:
            raise ValueError(f"expected far_steps > horizon >= 1; got {far_steps} and {horizon}")
        self.horizon, self.far_steps = horizon, far_steps
        out = ACTIONS + horizon + 1
        self.nets = _Nets(low, high, out, nets=nets, frequencies=frequencies, hidden_features=hidden_features)

    def logits(self, s: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
        """Of the first action `[nets, *batch, 8]` and of the steps, far last `[nets, *batch, horizon + 1]`."""
        out = self.nets(s, g)
        return out[..., :ACTIONS], out[..., ACTIONS:]

    def forward(self, s: Tensor, g: Tensor) -> Tensor:
        steps = torch.arange(1.0, self.horizon + 2, device=s.device)
        steps[-1] = self.far_steps
        return (self.logits(s, g)[1].softmax(-1) * steps).sum(-1).amax(0)

    def act(self, s: Tensor, g: Tensor) -> Tensor:
        """The likeliest first action towards g, by the mean of the nets' probabilities: `[*batch]`."""
        return self.logits(s, g)[0].softmax(-1).mean(0).argmax(-1)


class DistanceCritic(nn.Module):
    """Distances learned by distributional Q-learning: p(k | s, a, g) over k = 1, ..., `bins` steps, the last bin "that or more".

    E(s, g) = max over nets of min_a sum_k k p(k | s, a, g), the pessimistic distance of the best action.

    Args:
        low, high: corners of the square.
        bins: atoms of the distribution.
        nets, frequencies, hidden_features: see `Reachability`.

    References:
        Search on the replay buffer: bridging planning and reinforcement learning (Eysenbach, Salakhutdinov, Levine, 2019), section 4.
        A distributional perspective on reinforcement learning (Bellemare, Dabney, Munos, 2017).
    """

    def __init__(
        self,
        *,
        low: float,
        high: float,
        bins: int = 16,
        nets: int = 2,
        frequencies: int = 6,
        hidden_features: Sequence[int] = (128, 128),
    ) -> None:
        super().__init__()
        if bins < 2:
            raise ValueError(f"expected bins >= 2; got {bins}")
        self.bins = bins
        self.nets = _Nets(low, high, ACTIONS * bins, nets=nets, frequencies=frequencies, hidden_features=hidden_features)

    def logits(self, s: Tensor, g: Tensor) -> Tensor:
        """`[nets, *batch, 8, bins]`."""
        return self.nets(s, g).unflatten(-1, (ACTIONS, self.bins))

    def distances(self, s: Tensor, g: Tensor) -> Tensor:
        """Expected steps of each action, `[nets, *batch, 8]`."""
        steps = torch.arange(1.0, self.bins + 1, device=s.device)
        return (self.logits(s, g).softmax(-1) * steps).sum(-1)

    def forward(self, s: Tensor, g: Tensor) -> Tensor:
        return self.distances(s, g).amin(-1).amax(0)

    def act(self, s: Tensor, g: Tensor) -> Tensor:
        """The action with the shortest mean distance: `[*batch]`."""
        return self.distances(s, g).mean(0).argmin(-1)


def one_step_back(p: Tensor, done: Tensor) -> Tensor:
    """The distribution of the distance one step earlier: all bins move up by one, the last two merge; 1 for sure where `done`.

    Args:
        p: `[*batch, bins]`, of the state that follows.
        done: bool `[*batch]`, the state that follows is the goal.

    Example:
        >>> one_step_back(torch.tensor([[0.5, 0.2, 0.3]]), torch.tensor([False])).tolist()
        [[0.0, 0.5, 0.5]]
    """
    later = torch.cat([torch.zeros_like(p[..., :1]), p[..., :-2], p[..., -2:].sum(-1, keepdim=True)], -1)
    now = torch.zeros_like(p)
    now[..., 0] = 1
    return torch.where(done.unsqueeze(-1), now, later)


class Policy(Protocol):
    """What follows waypoints: an action for each (state, goal)."""

    def act(self, s: Tensor, g: Tensor) -> Tensor: ...


@dataclass(frozen=True, eq=False)
class Rollout:
    """What happened: success `[n]`, and the length of the way walked, `[n]`."""

    success: Tensor
    length: Tensor


def follow_waypoints(
    model: Policy,
    world: World,
    robot: PointRobot,
    starts: Tensor,
    waypoints: Sequence[Tensor],
    *,
    steps: int = 100,
    near: float = 0.7,
    random_action: float = 0.1,
    generator: torch.Generator | None = None,
) -> Rollout:
    """Walk to one waypoint after the other with the learned policy; the last one is the goal.

    Args:
        starts: `[n, 2]`.
        waypoints: for each start `[k, 2]` with k >= 1; only the goal for a policy without search.
        steps: actions until the task counts as failed.
        near: a waypoint is reached, and so is the goal, within this distance.
        random_action: probability of an action drawn at random instead, so that nobody is stuck in a loop for ever.
    """
    n = len(starts)
    if len(waypoints) != n or any(len(w) == 0 for w in waypoints):
        raise ValueError(f"expected waypoints [k, 2], k >= 1, for each of {n} starts; got {[len(w) for w in waypoints]}")
    last = torch.tensor([len(w) - 1 for w in waypoints])
    table = torch.stack([torch.cat([w, w[-1:].expand(int(last.max()) - len(w) + 1, 2)]) for w in waypoints])
    moves, rows = directions(robot.max_step).to(starts), torch.arange(n)
    s, at = starts, torch.zeros(n, dtype=torch.long)
    done, length = torch.zeros(n, dtype=torch.bool), torch.zeros(n)
    for _ in range(steps + 1):
        for _ in range(int(last.max()) + 1):  # several waypoints may be near at once
            close = (table[rows, at] - s).norm(dim=-1) < near
            done |= close & (at == last)
            at = torch.where(close & (at < last), at + 1, at)
        with torch.no_grad():
            a = model.act(s, table[rows, at])
        a = torch.where(torch.rand(n, generator=generator) < random_action, torch.randint(ACTIONS, (n,), generator=generator), a)
        after = torch.where(done[:, None], s, robot.move(world, s, moves[a])[0])
        length += (after - s).norm(dim=-1)
        s = after
    return Rollout(done, length)
