"""The three networks of hallucinative topological memory: states imagined for a context, an energy of states, an energy of pairs.

A context c says what the world looks like now: a few numbers (where the wall and its door are) or a picture. Contexts
come as `c[B, *context]`, states in the unit square as `s[B, n, 2]`: n states in each of B worlds.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..networks.mlp import MLP
from .graphs import EdgeCost, EnergyGraph, length


class PointContext(nn.Module):
    """Features of a state beside a context that is itself a point of the square, here the middle of the door.

    phi(p, c) = [2p - 1, 2c - 1, tanh(k (p - c)) for each k in scales]. A tanh of slope k resolves lengths of about 1/k
    near the wall; a wall of thickness 0.04 needs k of 16 or more.

    Args:
        scales: slopes k.
    """

    context_shape = (2,)

    def __init__(self, *, scales: tuple[float, ...] = (4.0, 16.0)) -> None:
        super().__init__()
        self.scales = scales
        self.n_features = 4 + 2 * len(scales)
        self.n_summary = 2

    def encode(self, c: Tensor) -> Tensor:
        """What is computed once for a context, whatever the number of states: `c[B, 2] -> [B, 2]`."""
        return c

    def summary(self, c: Tensor) -> Tensor:
        """The context alone: `c[B, 2] -> [B, n_summary]`."""
        return 2 * c - 1

    def forward(self, code: Tensor, p: Tensor) -> Tensor:
        """`code[B, 2], p[B, n, 2] -> phi[B, n, n_features]`."""
        c = code.unsqueeze(1)
        relative = p - c
        return torch.cat([2 * p - 1, (2 * c - 1).expand_as(p), *(torch.tanh(k * relative) for k in self.scales)], -1)


class PictureContext(nn.Module):
    """Features of a state beside a picture of the world: a convolutional map, read at the state by bilinear interpolation.

    The pixel in row i, column j of an S x S picture shows the state ((j + 1/2)/S, (i + 1/2)/S).

    Args:
        size: S.
        width: channels of the map.
        layers: 3 x 3 convolutions.
        n_summary: numbers in the summary of the whole picture; only a `Hallucinator` needs them.
    """

    def __init__(self, *, size: int = 32, width: int = 8, layers: int = 2, n_summary: int = 0) -> None:
        super().__init__()
        self.context_shape = (1, size, size)
        blocks: list[nn.Module] = [nn.Conv2d(1, width, 3, padding=1, padding_mode="replicate"), nn.SiLU()]
        for _ in range(layers - 1):
            blocks += [nn.Conv2d(width, width, 3, padding=1, padding_mode="replicate"), nn.SiLU()]
        self.map = nn.Sequential(*blocks)
        self.n_summary = n_summary
        if n_summary:
            small = -(-size // 4)
            self.whole = nn.Sequential(
                nn.Conv2d(1, 8, 5, stride=2, padding=2),
                nn.SiLU(),
                nn.Conv2d(8, 8, 3, stride=2, padding=1),
                nn.SiLU(),
                nn.Flatten(),
                nn.Linear(8 * small * small, n_summary),
            )
        self.n_features = width + 6

    def encode(self, c: Tensor) -> Tensor:
        """The map: `c[B, 1, S, S] -> [B, width, S, S]`."""
        return self.map(2 * c - 1)

    def summary(self, c: Tensor) -> Tensor:
        """The picture as a whole: `c[B, 1, S, S] -> [B, n_summary]`."""
        return self.whole(2 * c - 1)

    def forward(self, code: Tensor, p: Tensor) -> Tensor:
        """`code[B, width, S, S], p[B, n, 2] -> phi[B, n, width + 6]`."""
        read = F.grid_sample(code, (2 * p - 1).unsqueeze(2), mode="bilinear", padding_mode="border", align_corners=False)
        phase = 2 * math.pi * self.context_shape[-1] * p  # where in its pixel a state lies
        return torch.cat([read.squeeze(-1).transpose(1, 2), 2 * p - 1, phase.sin(), phase.cos()], -1)


def check_context(context: nn.Module, c: Tensor, *points: Tensor) -> None:
    """Raise unless c is `[B, *context]` and every tensor of states `[B, n, 2]`, all of one B."""
    shape = tuple(context.context_shape)  # type: ignore[arg-type]
    if tuple(c.shape[1:]) != shape or c.ndim != len(shape) + 1:
        raise ValueError(
            f"expected contexts of shape {('B', *shape)}; got {tuple(c.shape)}. A single context needs a leading axis: c[None]"
        )
    for p in points:
        if p.ndim != 3 or p.shape[-1] != 2 or len(p) != len(c):
            raise ValueError(f"expected states of shape {(len(c), 'n', 2)}, n for each context; got {tuple(p.shape)}")


def check_finite(*tensors: Tensor) -> None:
    """Raise on NaN and infinity."""
    if not all(bool(torch.isfinite(t).all()) for t in tensors):
        raise ValueError("expected finite contexts and states; got NaN or infinity")


class Hallucinator(nn.Module):
    """A conditional variational autoencoder p(s | c): states that could be in a world never visited.

    s = decoder(z, c) + sigma xi with z ~ N(0, I); trained by the evidence lower bound
    log p(s | c) >= E_q [log N(s; decoder(z, c), sigma²)] - KL(q(z | s, c) || N(0, I)).

    Args:
        context: `PointContext`, or `PictureContext` with a summary.
        latent_features: width of z.
        hidden_features: of the encoder and the decoder.
        sigma: standard deviation of the decoder, in units of the square.

    References:
        Auto-encoding variational Bayes (Kingma, Welling, 2014), equation 10.
        Learning structured output representation using deep conditional generative models (Sohn, Lee, Yan, 2015).
        Hallucinative topological memory for zero-shot visual planning (Liu et al., 2020).
    """

    def __init__(
        self,
        context: nn.Module,
        *,
        latent_features: int = 4,
        hidden_features: tuple[int, ...] = (96, 96, 96),
        sigma: float = 0.02,
    ) -> None:
        super().__init__()
        if not context.n_summary:
            raise ValueError("expected a context with a summary, which the decoder reads; give PictureContext n_summary=16")
        self.context = context
        self.latent_features = latent_features
        self.sigma = sigma
        n_features, n_summary = int(context.n_features), int(context.n_summary)  # type: ignore[arg-type]
        self.encoder = MLP(n_features + n_summary, 2 * latent_features, hidden_features=hidden_features)
        self.decoder = MLP(latent_features + n_summary, 2, hidden_features=hidden_features)

    def decode(self, z: Tensor, summary: Tensor) -> Tensor:
        """The mean of s: `z[B, n, latent], summary[B, n_summary] -> [B, n, 2]`."""
        both = torch.cat([z, summary.unsqueeze(1).expand(*z.shape[:2], -1)], -1)
        return 0.5 + 0.5 * self.decoder(both)

    def forward(self, s: Tensor, c: Tensor, noise: Tensor) -> Tensor:
        """Minus the evidence lower bound, up to a constant, with one z = mu + std noise a state.

        Args:
            s: states, `[B, n, 2]`.
            c: contexts, `[B, *context]`.
            noise: standard normal, `[B, n, latent_features]`.

        Returns:
            `[B, n]`.
        """
        check_context(self.context, c, s)
        summary = self.context.summary(c)  # type: ignore[operator]
        phi = self.context(self.context.encode(c), s)  # type: ignore[operator]
        h = self.encoder(torch.cat([phi, summary.unsqueeze(1).expand(*s.shape[:2], -1)], -1))
        mean, log_var = h.chunk(2, -1)
        z = mean + (0.5 * log_var).exp() * noise
        miss = (s - self.decode(z, summary)).square().sum(-1) / (2 * self.sigma**2)
        kl = 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(-1)
        return miss + kl

    @torch.no_grad()
    def sample(self, c: Tensor, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        """n hallucinated states for each context, the decoder's mean clipped to the square: `c[B, *context] -> [B, n, 2]`.

        Raises:
            ValueError: contexts of another shape.
        """
        check_context(self.context, c)
        z = torch.randn(len(c), n, self.latent_features, generator=generator, device=c.device, dtype=c.dtype)
        return self.decode(z, self.context.summary(c)).clamp(0, 1)  # type: ignore[operator]


class StateEnergy(nn.Module):
    """E(s, c): low where states have been seen, high inside walls.

    Trained against uniform noise in the square, its optimum is -log p(s | c).

    Args:
        context: `PointContext` or `PictureContext`.
        hidden_features: of the network.
    """

    def __init__(self, context: nn.Module, *, hidden_features: tuple[int, ...] = (64, 64)) -> None:
        super().__init__()
        self.context = context
        self.net = MLP(int(context.n_features), 1, hidden_features=hidden_features)  # type: ignore[arg-type]

    def forward(self, s: Tensor, c: Tensor) -> Tensor:
        """`s[B, n, 2], c[B, *context] -> energy[B, n]`.

        Raises:
            ValueError: contexts or states of another shape.
        """
        check_context(self.context, c, s)
        return self.net(self.context(self.context.encode(c), s)).squeeze(-1)  # type: ignore[operator]


def along(s: Tensor, t: Tensor, points: int) -> Tensor:
    """Equally spaced points of segments, both ends included: `s[B, n, 2], t[B, n, 2] -> [B, n, points, 2]`."""
    u = torch.linspace(0, 1, points, dtype=s.dtype, device=s.device)
    return s.unsqueeze(2) + u[:, None] * (t - s).unsqueeze(2)


class PairEnergy(nn.Module):
    """E(s, s', c): low where one step leads from s to s', high where something stands between them.

    An MLP of phi(p, c) at `points` equally spaced points p of the segment from s to s', both ends included. Trained
    against displacements of other steps, its optimum is -log p(s' | s, c) / q(s' - s), with q the law of steps in the
    open: about 0 in free space and infinite across a wall, so that one threshold serves every pair.

    Args:
        context: `PointContext` or `PictureContext`.
        points: 2 for the end points alone.
        hidden_features: of the network.
    """

    def __init__(self, context: nn.Module, *, points: int = 8, hidden_features: tuple[int, ...] = (64, 64, 64)) -> None:
        super().__init__()
        if points < 2:
            raise ValueError(f"expected points >= 2, the end points of a segment; got {points}")
        self.context = context
        self.points = points
        self.net = MLP(points * int(context.n_features), 1, hidden_features=hidden_features)  # type: ignore[arg-type]

    def forward(self, s: Tensor, t: Tensor, c: Tensor) -> Tensor:
        """`s[B, n, 2], t[B, n, 2], c[B, *context] -> energy[B, n]`.

        Raises:
            ValueError: contexts or states of another shape.
        """
        check_context(self.context, c, s, t)
        phi = self.context(self.context.encode(c), along(s, t, self.points).flatten(1, 2))  # type: ignore[operator]
        return self.net(phi.reshape(*s.shape[:2], -1)).squeeze(-1)


class SegmentEnergy(nn.Module):
    """E(s, s', c) = level + strength * mean over the segment of softplus(e(p, c) - 3): a sum of local energies.

    The local energy e is an MLP of phi(p, c) at one point; a segment costs what stands on it, from either end alike.
    It learns walls from fewer pictures than an MLP of the whole segment, which must find them in each of its inputs.

    Args:
        context: `PointContext` or `PictureContext`.
        points: where the mean is taken, equally spaced, both ends included.
        hidden_features: of e.
        strength: the energy of a wall over that of the open, roughly.
    """

    def __init__(
        self, context: nn.Module, *, points: int = 8, hidden_features: tuple[int, ...] = (32, 32), strength: float = 10.0
    ) -> None:
        super().__init__()
        if points < 2:
            raise ValueError(f"expected points >= 2, the end points of a segment; got {points}")
        self.context = context
        self.points = points
        self.strength = strength
        self.net = MLP(int(context.n_features), 1, hidden_features=hidden_features)  # type: ignore[arg-type]
        self.level = nn.Parameter(torch.zeros(()))

    def forward(self, s: Tensor, t: Tensor, c: Tensor) -> Tensor:
        """`s[B, n, 2], t[B, n, 2], c[B, *context] -> energy[B, n]`.

        Raises:
            ValueError: contexts or states of another shape.
        """
        check_context(self.context, c, s, t)
        phi = self.context(self.context.encode(c), along(s, t, self.points).flatten(1, 2))  # type: ignore[operator]
        local = F.softplus(self.net(phi).reshape(*s.shape[:2], self.points) - 3)
        return self.level + self.strength * local.mean(-1)


class HTM(nn.Module):
    """The three networks together, with the two thresholds that turn energies into nodes and edges.

    Args:
        generator: p(s | c).
        state_energy: nodes with E(s, c) above `state_threshold` are dropped.
        pair_energy: moves with E(s, s', c) above `pair_threshold` are no edges.
        radius: the longest move that `pair_energy` was trained on; longer ones are no edges, whatever their energy.
        margin: a move must also be possible when it is shifted by this much along each diagonal: walls grow by the margin.
            An energy learned from pictures rounds corners off, and shortest paths cut them.

    References:
        Hallucinative topological memory for zero-shot visual planning (Liu et al., 2020).
    """

    state_threshold: Tensor
    pair_threshold: Tensor

    def __init__(
        self, generator: Hallucinator, state_energy: StateEnergy, pair_energy: nn.Module, *, radius: float, margin: float = 0.0
    ) -> None:
        super().__init__()
        self.generator = generator
        self.state_energy = state_energy
        self.pair_energy = pair_energy
        if margin < 0:
            raise ValueError(f"expected margin >= 0; got {margin}")
        self.radius = radius
        self.margin = margin
        self.register_buffer("state_threshold", torch.tensor(math.inf))
        self.register_buffer("pair_threshold", torch.tensor(math.inf))

    @torch.no_grad()
    def nodes(self, c: Tensor, n: int, *, prune: bool = True, generator: torch.Generator | None = None) -> Tensor:
        """Hallucinated states of one world, those of high energy dropped: `c[*context] -> [at most n, 2]`.

        Raises:
            ValueError: a context of another shape, or not finite.
        """
        check_finite(c)
        s = self.generator.sample(c.unsqueeze(0), n, generator=generator)
        if not prune:
            return s[0]
        return s[0, self.state_energy(s, c.unsqueeze(0))[0] <= self.state_threshold]

    @torch.no_grad()
    def energy(self, s: Tensor, t: Tensor, c: Tensor) -> Tensor:
        """E(s, s', c) of moves in one world, with a margin the highest of four shifted copies: `s[n, 2], t[n, 2], c[*context] -> [n]`."""
        check_finite(c, s, t)
        if not self.margin:
            return self.pair_energy(s.unsqueeze(0), t.unsqueeze(0), c.unsqueeze(0))[0]
        shift = self.margin * torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]], dtype=s.dtype, device=s.device)
        near = [(p + shift.unsqueeze(1)).clamp(0, 1).reshape(1, -1, 2) for p in (s, t)]
        return self.pair_energy(*near, c.unsqueeze(0)).reshape(4, -1).amax(0)

    def graph(self, c: Tensor, nodes: Tensor, *, cost: EdgeCost = length) -> EnergyGraph:
        """The topological memory: moves between `nodes[n, 2]` that are short enough and of low energy in the world of `c[*context]`.

        Join the start and the goal (`graph.join`), search (`graph.path`), walk (`graphs.follow`).
        """
        return EnergyGraph(
            nodes, lambda s, t: self.energy(s, t, c), threshold=float(self.pair_threshold), radius=self.radius, cost=cost
        )
