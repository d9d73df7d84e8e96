"""Two-dimensional sets, every one with its exact normalised log-density: each set is an energy that draws its own samples."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from ..energies.analytic import Ring
from ..energies.base import Energy, Mixture
from ..energies.gaussian import GaussianMixture
from ..functional import check_event

Curve = Callable[[Tensor], Tensor]


class Toy(Energy):
    """A two-dimensional set: an energy E = -log p with Z = 1, that draws exact samples of itself.

    `forward`, `log_prob` and `sample` agree by construction; a test integrates exp(-E) over the plane for each set.
    """

    event_ndim = 1

    @abstractmethod
    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        """`n` independent points, `[n, 2]`."""

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x), normalised: `[*batch, 2] -> [*batch]`."""
        return -self(x)

    def log_partition(self) -> Tensor:
        """log Z = 0."""
        return torch.zeros(())

    def pairs(self, n: int, *, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """The same points read as questions and answers, for an energy F(x, y): `x[n, 1]` and `y[n, 1]`."""
        points = self.sample(n, generator=generator)
        return points[:, :1], points[:, 1:]


def _rand(n: int, generator: torch.Generator | None) -> Tensor:
    return torch.rand(n, generator=generator, device=None if generator is None else generator.device)


def _randn(n: int, generator: torch.Generator | None) -> Tensor:
    return torch.randn(n, 2, generator=generator, device=None if generator is None else generator.device)


def _check_count(n: int) -> None:
    if n < 1:
        raise ValueError(f"expected n >= 1 points; got {n}")


def _check_noise(noise: float) -> None:
    if not 0 < noise < math.inf:
        raise ValueError(f"expected noise > 0, without it the points have no density; got {noise}")


class NoisyCurves(Toy):
    """Points on curves plus Gaussian noise: p(x) = 1/K sum_k int_0^1 N(x; c_k(t), s² I) dt.

    The integral is taken by Gauss-Legendre quadrature in u = sqrt(t), in which the spirals are smooth too, with so many
    nodes that they lie closer than the noise is wide; the density is then exact to about 1e-8.

    Args:
        curves: functions of `t[n]` in [0, 1] that return `[n, 2]`, all equally likely, t uniform.
        noise: the standard deviation s > 0.
        nodes: quadrature nodes a curve.
    """

    def __init__(self, curves: Sequence[Curve], *, noise: float, nodes: int = 512) -> None:
        super().__init__()
        _check_noise(noise)
        self.curves = tuple(curves)
        self.noise = noise
        node, weight = np.polynomial.legendre.leggauss(nodes)
        u = (node + 1) / 2
        ts = torch.from_numpy(u**2)
        log_weights = torch.from_numpy(np.log(weight * u / len(self.curves)))  # dt = 2 u du, du = weight / 2
        self.register_buffer("centres", torch.cat([c(ts) for c in self.curves]), persistent=False)
        self.register_buffer("log_weights", log_weights.repeat(len(self.curves)), persistent=False)
        gaps = (self.centres.reshape(len(self.curves), nodes, 2).diff(dim=1)).norm(dim=-1)
        if float(gaps.max()) > noise:
            raise ValueError(
                f"expected nodes closer than the noise {noise}; they are {float(gaps.max()):.3g} apart. Raise nodes above {nodes}"
            )

    def forward(self, x: Tensor) -> Tensor:
        check_event(x, (2,), "a toy set")
        centres, log_weights = self.centres.to(x), self.log_weights.to(x)
        squares = (x[..., None, :] - centres).square().sum(-1)
        log_p = torch.logsumexp(log_weights - squares / (2 * self.noise**2), dim=-1) - math.log(2 * math.pi * self.noise**2)
        return -log_p

    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        _check_count(n)
        which = (_rand(n, generator) * len(self.curves)).long().clamp(max=len(self.curves) - 1)
        t = _rand(n, generator)
        on_curve = torch.stack([c(t) for c in self.curves])[which, torch.arange(n, device=t.device)]
        return on_curve + self.noise * _randn(n, generator)

    def curve(self, n: int) -> Tensor:
        """The curves without noise, `n` points along each: `[K, n, 2]`."""
        t = torch.linspace(0, 1, n)
        return torch.stack([c(t) for c in self.curves])

    def distance(self, x: Tensor) -> Tensor:
        """The distance of each point to the nearest curve (taken at 2048 points along each): `[*batch, 2] -> [*batch]`."""
        check_event(x, (2,), "distance")
        dense = self.curve(2048).reshape(-1, 2).to(x)
        return torch.cdist(x.reshape(-1, 2), dense).amin(-1).reshape(x.shape[:-1])

    def answers(self, x: float) -> Tensor:
        """Every y with (x, y) on a curve, sorted: the right answers to the question x, `[m]`, m = 0 where there are none.

        Example:
            >>> parabolas().answers(0.5)
            tensor([-0.7500,  0.7500])
        """
        found = []
        for line in self.curve(4096):
            side = line[:, 0] - x
            hit = torch.nonzero((side[:-1] <= 0) != (side[1:] <= 0)).squeeze(-1)
            share = side[hit] / (side[hit] - side[hit + 1])
            found.append(line[hit, 1] + share * (line[hit + 1, 1] - line[hit, 1]))
        return torch.cat(found).sort().values


def _arm(turns: float, scale: float, start: float, phase: float) -> Curve:
    """A spiral arm c(t) = scale * a (cos(a + phase), sin(a + phase)), a = start + 2 pi turns sqrt(t)."""

    def arm(t: Tensor) -> Tensor:
        a = start + 2 * math.pi * turns * t.sqrt()
        return scale * a[:, None] * torch.stack([torch.cos(a + phase), torch.sin(a + phase)], -1)

    return arm


def spiral(*, noise: float = 0.05, turns: float = 1.5) -> NoisyCurves:
    """One spiral, 0.26 a (cos a, sin a) with a = 0.5 + 2 pi turns sqrt(t): many right answers y to one x."""
    return NoisyCurves([_arm(turns, 0.26, 0.5, 0.0)], noise=noise)


def two_spirals(*, noise: float = 0.05, turns: float = 1.5) -> NoisyCurves:
    """Two interleaved spirals, one the other turned by half a circle."""
    return NoisyCurves([_arm(turns, 0.26, 0.5, 0.0), _arm(turns, 0.26, 0.5, math.pi)], noise=noise)


def parabolas(*, noise: float = 0.05) -> NoisyCurves:
    """Two crossing parabolas y = x² - 1 and y = 1 - x², x in [-1.5, 1.5]: two right answers to every x but the crossings."""

    def upward(t: Tensor) -> Tensor:
        x = 3 * t - 1.5
        return torch.stack([x, x * x - 1], -1)

    def downward(t: Tensor) -> Tensor:
        x = 3 * t - 1.5
        return torch.stack([x, 1 - x * x], -1)

    return NoisyCurves([upward, downward], noise=noise)


def moons(*, noise: float = 0.1) -> NoisyCurves:
    """Two half-circles of radius 1 that interlock, centred on the origin."""

    def outer(t: Tensor) -> Tensor:
        return torch.stack([torch.cos(math.pi * t) - 0.5, torch.sin(math.pi * t) - 0.25], -1)

    def inner(t: Tensor) -> Tensor:
        return torch.stack([0.5 - torch.cos(math.pi * t), 0.25 - torch.sin(math.pi * t)], -1)

    return NoisyCurves([outer, inner], noise=noise)


def swiss_roll(*, noise: float = 0.1) -> NoisyCurves:
    """The Swiss roll seen from the end: 0.2 a (cos a, sin a), a uniform on [1.5 pi, 4.5 pi]."""

    def roll(t: Tensor) -> Tensor:
        a = math.pi * (1.5 + 3 * t)
        return 0.2 * a[:, None] * torch.stack([torch.cos(a), torch.sin(a)], -1)

    return NoisyCurves([roll], noise=noise)


class Gaussians(Toy):
    """Equal shares of Gaussians N(m_k, s² I): the samples of a `GaussianMixture`, whose log Z is known.

    Args:
        means: `[K, 2]`.
        std: the common standard deviation s > 0.
    """

    def __init__(self, means: Tensor, *, std: float) -> None:
        super().__init__()
        _check_noise(std)
        self.means, self.std = means, std
        self.mixture = GaussianMixture(means, std**2)

    def forward(self, x: Tensor) -> Tensor:
        check_event(x, (2,), "a toy set")
        return self.mixture(x) + self.mixture.log_partition().to(x)

    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        _check_count(n)
        return self.mixture.sample(n, generator=generator)


def eight_gaussians(*, radius: float = 4 / math.sqrt(2), std: float = 0.5 / math.sqrt(2)) -> Gaussians:
    """Eight Gaussians on a circle."""
    a = torch.arange(8) * (math.pi / 4)
    return Gaussians(radius * torch.stack([torch.cos(a), torch.sin(a)], -1), std=std)


def twenty_five_gaussians(*, spacing: float = 1.5, std: float = 0.15) -> Gaussians:
    """Twenty-five Gaussians on a 5 x 5 grid."""
    line = spacing * torch.arange(-2.0, 3.0)
    return Gaussians(torch.cartesian_prod(line, line), std=std)


class Rings(Toy):
    """Concentric rings with equal shares: a `Mixture` of `Ring` energies, each brought to Z = 1.

    Args:
        radii: R_k > 0.
        width: s of every ring.
    """

    def __init__(self, radii: Sequence[float], *, width: float) -> None:
        super().__init__()
        self.parts = [Ring(radius=r, width=width) for r in radii]
        self.mixture = Mixture(
            self.parts, logits=[-float(ring.log_partition()) - math.log(len(self.parts)) for ring in self.parts]
        )

    def forward(self, x: Tensor) -> Tensor:
        check_event(x, (2,), "a toy set")
        return self.mixture(x)

    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        _check_count(n)
        every = torch.stack([ring.sample(n, generator=generator) for ring in self.parts])
        which = (_rand(n, generator) * len(self.parts)).long().clamp(max=len(self.parts) - 1)
        return every[which, torch.arange(n, device=which.device)]


def rings(*, radii: Sequence[float] = (1.0, 2.0, 3.0), width: float = 0.1) -> Rings:
    """Concentric rings with equal shares."""
    return Rings(radii, width=width)


class Checkerboard(Toy):
    """Uniform on the eight dark squares of a 4 x 4 board on [-h, h]²: p = 1/(2 h²) there, 0 (E = +inf) elsewhere.

    Args:
        half_width: h > 0.
    """

    def __init__(self, *, half_width: float = 4.0) -> None:
        super().__init__()
        if half_width <= 0:
            raise ValueError(f"expected half_width > 0; got {half_width}")
        self.half_width = half_width

    def forward(self, x: Tensor) -> Tensor:
        check_event(x, (2,), "a toy set")
        h = self.half_width
        cell = torch.floor(2 * (x + h) / h)
        dark = (cell.sum(-1) % 2 == 0) & (x >= -h).all(-1) & (x < h).all(-1)
        return torch.where(dark, math.log(2 * h * h), math.inf).to(x.dtype)

    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        _check_count(n)
        column = (_rand(n, generator) * 4).long().clamp(max=3)
        row = 2 * (_rand(n, generator) * 2).long().clamp(max=1) + column % 2
        corner = torch.stack([column, row], -1)
        inside = torch.stack([_rand(n, generator), _rand(n, generator)], -1)
        return (corner + inside) * (self.half_width / 2) - self.half_width


def checkerboard(*, half_width: float = 4.0) -> Checkerboard:
    """A 4 x 4 checkerboard; its density is flat with jumps, so it has no score."""
    return Checkerboard(half_width=half_width)


class Pinwheel(Toy):
    """Gaussian blades, twisted by an angle that depends on |x| only.

    A blade is N((R, 0), diag(s_r², s_t²)) turned to its place; the point then turns by twist * |x|. A rotation by a
    function of the radius preserves area, so the density is the mixture of Gaussians at the point turned back.

    Args:
        n_blades: blades, equal shares.
        radius: R, the distance of a blade's centre.
        radial_std, tangential_std: s_r and s_t.
        twist: radians for each unit of radius.
    """

    def __init__(
        self, *, n_blades: int = 5, radius: float = 2.0, radial_std: float = 0.6, tangential_std: float = 0.15, twist: float = 0.6
    ) -> None:
        super().__init__()
        if n_blades < 1:
            raise ValueError(f"expected n_blades >= 1; got {n_blades}")
        _check_noise(min(radial_std, tangential_std))
        self.n_blades, self.radius, self.twist = n_blades, radius, twist
        self.radial_std, self.tangential_std = radial_std, tangential_std

    def forward(self, x: Tensor) -> Tensor:
        check_event(x, (2,), "a toy set")
        blade = torch.arange(self.n_blades, dtype=x.dtype, device=x.device) * (2 * math.pi / self.n_blades)
        angle = -(self.twist * x.norm(dim=-1)[..., None] + blade)
        cos, sin = torch.cos(angle), torch.sin(angle)
        u = cos * x[..., :1] - sin * x[..., 1:]
        v = sin * x[..., :1] + cos * x[..., 1:]
        exponent = -((u - self.radius) ** 2) / (2 * self.radial_std**2) - v**2 / (2 * self.tangential_std**2)
        return math.log(2 * math.pi * self.radial_std * self.tangential_std * self.n_blades) - torch.logsumexp(exponent, -1)

    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        _check_count(n)
        blade = (_rand(n, generator) * self.n_blades).long().clamp(max=self.n_blades - 1) * (2 * math.pi / self.n_blades)
        flat = _randn(n, generator) * torch.tensor([self.radial_std, self.tangential_std], device=blade.device)
        flat = flat + torch.tensor([self.radius, 0.0], device=blade.device)
        angle = blade + self.twist * flat.norm(dim=-1)
        cos, sin = torch.cos(angle), torch.sin(angle)
        return torch.stack([cos * flat[:, 0] - sin * flat[:, 1], sin * flat[:, 0] + cos * flat[:, 1]], -1)


def pinwheel(*, n_blades: int = 5, twist: float = 0.6) -> Pinwheel:
    """A pinwheel of Gaussian blades."""
    return Pinwheel(n_blades=n_blades, twist=twist)


TOYS: dict[str, Callable[[], Toy]] = {
    "two_spirals": two_spirals,
    "spiral": spiral,
    "parabolas": parabolas,
    "eight_gaussians": eight_gaussians,
    "twenty_five_gaussians": twenty_five_gaussians,
    "rings": rings,
    "moons": moons,
    "checkerboard": checkerboard,
    "pinwheel": pinwheel,
    "swiss_roll": swiss_roll,
}
