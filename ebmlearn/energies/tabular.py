"""A decision process so small that everything is a table: the maximum-entropy policy, its trajectories, its inverse problem."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


class SoftPolicy(NamedTuple):
    """The maximum-entropy policy: log pi(a | s, t) `[T, S, A]` and the soft cost to go V_t(s) `[T + 1, S]`, in units of tau."""

    log_prob: Tensor
    value: Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class TabularMDP:
    """Finitely many states and actions, certain moves, a fixed number of steps: s_{t+1} = move[s_t, a_t].

    The energy of a trajectory is its cost, E(s_0, a_0, ..., s_T) = sum_t cost[s_t, a_t] + end[s_T]: the negative of what
    reinforcement learning calls the return. The policy that minimises E_pi[E] - tau H(pi) draws whole trajectories from
    the Boltzmann distribution exp(-E/tau)/Z, exactly, and log Z = -V_0(start).

    Args:
        move: next states, `[S, A]`, int64.
        horizon: T, actions of a trajectory.
        start: the first state.

    References:
        Modeling interaction via the principle of maximum causal entropy (Ziebart, Bagnell, Dey, 2010).
        Reinforcement learning and control as probabilistic inference (Levine, 2018).

    Example:
        >>> mdp = grid_world(2, 1, horizon=1)
        >>> policy = mdp.solve(torch.zeros(2, 5), end=torch.tensor([0.0, 1.0]))
        >>> policy.log_prob[0, 0].exp().sum().item()
        1.0
    """

    move: Tensor
    horizon: int
    start: int = 0

    def __post_init__(self) -> None:
        if (
            self.move.ndim != 2
            or self.move.dtype != torch.int64
            or int(self.move.min()) < 0
            or int(self.move.max()) >= len(self.move)
        ):
            raise ValueError(f"expected move[S, A] of state numbers below S; got {self.move.dtype} {tuple(self.move.shape)}")
        if self.horizon < 1 or not 0 <= self.start < len(self.move):
            raise ValueError(f"expected horizon >= 1 and a start below {len(self.move)}; got {self.horizon} and {self.start}")

    def solve(self, cost: Tensor, *, end: Tensor, temperature: float = 1.0) -> SoftPolicy:
        """Soft value iteration: V_T = end/tau, V_t(s) = -log sum_a exp(-cost[s, a]/tau - V_{t+1}(move[s, a])).

        Args:
            cost: of each action in each state, `[S, A]`; may require gradients.
            end: of each last state, `[S]`.
            temperature: tau > 0.
        """
        if temperature <= 0:
            raise ValueError(f"expected temperature > 0; got {temperature}")
        if cost.shape != self.move.shape or end.shape != self.move.shape[:1]:
            raise ValueError(
                f"expected cost {tuple(self.move.shape)} and end {(len(self.move),)}; got {tuple(cost.shape)}, {tuple(end.shape)}"
            )
        values, logs = [end / temperature], []
        for _ in range(self.horizon):
            q = cost / temperature + values[-1][self.move]
            values.append(-torch.logsumexp(-q, -1))
            logs.append(values[-1][:, None] - q)
        return SoftPolicy(torch.stack(logs[::-1]), torch.stack(values[::-1]))

    def trajectories(self) -> tuple[Tensor, Tensor]:
        """Every sequence of actions `[A^T, T]` and the states it visits `[A^T, T + 1]`: for small problems."""
        n = self.move.shape[1] ** self.horizon
        if n > 1_000_000:
            raise ValueError(f"there are {n} trajectories; expected at most a million. Shorten the horizon")
        actions = torch.tensor(list(itertools.product(range(self.move.shape[1]), repeat=self.horizon)))
        return actions, self.states(actions)

    def states(self, actions: Tensor) -> Tensor:
        """The states that actions `[N, T]` lead through, `[N, T + 1]`."""
        s = torch.full((len(actions),), self.start)
        out = [s]
        for a in actions.T:
            s = self.move[s, a]
            out.append(s)
        return torch.stack(out, -1)

    def energy(self, actions: Tensor, cost: Tensor, *, end: Tensor) -> Tensor:
        """E of each sequence of actions: `[N, T] -> [N]`."""
        s = self.states(actions)
        return cost[s[:, :-1], actions].sum(-1) + end[s[:, -1]]

    def log_prob(self, actions: Tensor, policy: SoftPolicy) -> Tensor:
        """log pi of each sequence of actions: `[N, T] -> [N]`."""
        s = self.states(actions)
        return policy.log_prob[torch.arange(self.horizon), s[:, :-1], actions].sum(-1)

    def visits(self, policy: SoftPolicy) -> tuple[Tensor, Tensor]:
        """Expected numbers of uses of each action in each state, `[S, A]`, and the law of the last state, `[S]`."""
        law = torch.zeros_like(policy.value[0])
        law[self.start] = 1
        used = torch.zeros_like(policy.log_prob[0])
        for t in range(self.horizon):
            flow = law[:, None] * policy.log_prob[t].exp()
            used = used + flow
            law = torch.zeros_like(law).index_add(0, self.move.flatten(), flow.flatten())
        return used, law

    def sample(self, n: int, policy: SoftPolicy, *, generator: torch.Generator | None = None) -> Tensor:
        """`n` sequences of actions drawn from the policy, `[n, T]`."""
        s = torch.full((n,), self.start)
        out = []
        for t in range(self.horizon):
            a = torch.multinomial(policy.log_prob[t][s].detach().exp(), 1, generator=generator).squeeze(-1)
            s = self.move[s, a]
            out.append(a)
        return torch.stack(out, -1)


def grid_world(width: int, height: int, *, horizon: int, start: int = 0) -> TabularMDP:
    """Cells of a grid, numbered row by row; actions stay, left, right, up, down; a move into a wall stays.

    Example:
        >>> grid_world(3, 2, horizon=4).move[0].tolist()
        [0, 0, 1, 0, 3]
    """
    rows = []
    for y, x in itertools.product(range(height), range(width)):
        near = [(x, y), (x - 1, y), (x + 1, y), (x, y - 1), (x, y + 1)]
        rows.append([v * width + u if 0 <= u < width and 0 <= v < height else y * width + x for u, v in near])
    return TabularMDP(move=torch.tensor(rows), horizon=horizon, start=start)
