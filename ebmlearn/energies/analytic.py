"""Energies with known answers: what is known of each (log Z, moments, exact samples, gradients) is what samplers are tested with."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ..functional import check_event
from .base import Energy


def _positive(name: str, value: float) -> float:
    if not 0 < value < math.inf:
        raise ValueError(f"expected {name} > 0 and finite; got {value}")
    return float(value)


def _device(generator: torch.Generator | None) -> torch.device:
    return torch.device("cpu") if generator is None else generator.device


def _normal(*shape: int, generator: torch.Generator | None) -> Tensor:
    return torch.randn(*shape, device=_device(generator), generator=generator)


def _uniform(n: int, generator: torch.Generator | None) -> Tensor:
    return torch.rand(n, device=_device(generator), generator=generator)


class DoubleWell(Energy):
    """E(x) = h sum_d (x_d² - 1)²: minima at every corner of {-1, 1}^D, barrier h between neighbours.

    In one dimension Z = (π/2) exp(-h/2) (I_{1/4}(h/2) + I_{-1/4}(h/2)), and integration by parts of x exp(-E) gives
    E[x⁴] - E[x²] = 1/(4h) exactly; at h = 1, E[x²] = 0.8327.

    Args:
        dim: D.
        height: h > 0.
    """

    def __init__(self, dim: int = 1, *, height: float = 1.0) -> None:
        super().__init__()
        self.dim = dim
        self.height = _positive("height", height)

    def forward(self, x: Tensor) -> Tensor:
        check_event(x, (self.dim,), type(self).__name__)
        return self.height * (x * x - 1).square().sum(-1)

    def value_and_grad(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Energies `[*batch]` and gradients 4h x (x² - 1), `[*batch, D]`."""
        with torch.no_grad():
            check_event(x, (self.dim,), type(self).__name__)
            well = x * x - 1
            return self.height * well.square().sum(-1), 4 * self.height * x * well

    def log_partition(self) -> Tensor:
        """log Z, exact."""
        from scipy.special import ive  # exp(-|x|) I_v(x)

        half = self.height / 2
        one = math.log(math.pi / 2 * (ive(0.25, half) + ive(-0.25, half)))
        return torch.tensor(self.dim * one)

    @property
    def second_moment(self) -> float:
        """E[x_d²], by quadrature to rounding error; E[x_d⁴] is 1/(4h) more."""
        reach = math.sqrt(1 + math.sqrt(750 / self.height))  # exp(-750) is 0 in float64
        x = torch.linspace(-reach, reach, 20001, dtype=torch.float64)
        p = torch.softmax(-self.height * (x * x - 1).square(), 0)
        return float((p * x * x).sum())

    @property
    def mean(self) -> Tensor:
        """0, `[D]`."""
        return torch.zeros(self.dim)

    @property
    def covariance(self) -> Tensor:
        """E[x²] times the identity, `[D, D]`."""
        return self.second_moment * torch.eye(self.dim)

    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        """`n` independent points, `[n, D]`, by rejection from |x| ~ N(1, 1/(2h)), since (x² - 1)² >= (|x| - 1)²."""

        def propose(m: int) -> tuple[Tensor, Tensor]:
            r = 1 + _normal(m, generator=generator) / math.sqrt(2 * self.height)
            log_ratio = -self.height * ((r * r - 1).square() - (r - 1).square())
            keep = (r > 0) & (_uniform(m, generator).log() < log_ratio)
            sign = 1 - 2 * (_uniform(m, generator) < 0.5).to(r.dtype)
            return sign * r, keep

        return _reject(propose, n * self.dim).reshape(n, self.dim)


def _reject(propose: Callable[[int], tuple[Tensor, Tensor]], n: int) -> Tensor:
    """The first `n` accepted of as many proposals as it takes."""
    kept: list[Tensor] = []
    while (have := sum(len(k) for k in kept)) < n:
        x, keep = propose(max(64, 2 * (n - have)))
        kept.append(x[keep])
    return torch.cat(kept)[:n]


class Ring(Energy):
    """E(x) = (|x| - R)²/(2 s²) in the plane.

    Z = 2π (s² exp(-R²/2s²) + R s √(2π) Φ(R/s)) with Φ the normal distribution function; the mean is 0.

    Args:
        radius: R > 0.
        width: s > 0.
    """

    def __init__(self, *, radius: float = 2.0, width: float = 0.2) -> None:
        super().__init__()
        self.radius = _positive("radius", radius)
        self.width = _positive("width", width)

    def forward(self, x: Tensor) -> Tensor:
        check_event(x, (2,), type(self).__name__)
        return 0.5 * ((x.norm(dim=-1) - self.radius) / self.width).square()

    def _tail(self, k: int) -> float:
        """∫ r^k exp(-(r - R)²/2s²) dr over r > 0, by parts: M_k = R M_{k-1} + s² (k-1) M_{k-2} + s² [k = 1] exp(-R²/2s²)."""
        r, s = self.radius, self.width
        before = s * math.sqrt(2 * math.pi) * 0.5 * math.erfc(-r / s / math.sqrt(2))
        now = r * before + s * s * math.exp(-0.5 * (r / s) ** 2)
        for j in range(2, k + 1):
            before, now = now, r * now + s * s * (j - 1) * before
        return now

    def log_partition(self) -> Tensor:
        """log Z, exact."""
        return torch.tensor(math.log(2 * math.pi * self._tail(1)))

    @property
    def mean(self) -> Tensor:
        """0, `[2]`."""
        return torch.zeros(2)

    @property
    def covariance(self) -> Tensor:
        """E[|x|²]/2 times the identity, `[2, 2]`."""
        return 0.5 * self._tail(3) / self._tail(1) * torch.eye(2)

    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        """`n` independent points, `[n, 2]`; the radius by rejection, since r <= (R + s) exp((r - R - s)/(R + s))."""
        top = self.radius + self.width
        centre = self.radius + self.width**2 / top  # the exponential bound tilts N(R, s²) to this mean

        def propose(m: int) -> tuple[Tensor, Tensor]:
            r = centre + self.width * _normal(m, generator=generator)
            log_ratio = torch.log(r.clamp(min=1e-30) / top) - (r - top) / top
            return r, (r > 0) & (_uniform(m, generator).log() < log_ratio)

        r = _reject(propose, n)
        angle = 2 * math.pi * _uniform(n, generator)
        return torch.stack([r * angle.cos(), r * angle.sin()], -1)


class Rosenbrock(Energy):
    """E(x, y) = (x - a)² + b (y - x²)²: a curved valley, in which the exact law is still simple.

    x ~ N(a, 1/2) and y | x ~ N(x², 1/(2b)), so Z = π/√b.

    Args:
        a: position of the minimum (a, a²).
        b: steepness > 0 of the valley's walls.

    References:
        An automatic method for finding the greatest or least value of a function (Rosenbrock, 1960).
    """

    def __init__(self, *, a: float = 1.0, b: float = 100.0) -> None:
        super().__init__()
        self.a = float(a)
        self.b = _positive("b", b)

    def forward(self, x: Tensor) -> Tensor:
        check_event(x, (2,), type(self).__name__)
        u, v = x.unbind(-1)
        return (u - self.a).square() + self.b * (v - u * u).square()

    def log_partition(self) -> Tensor:
        """log(π/√b)."""
        return torch.tensor(math.log(math.pi) - 0.5 * math.log(self.b))

    @property
    def mean(self) -> Tensor:
        """(a, a² + 1/2)."""
        return torch.tensor([self.a, self.a**2 + 0.5])

    @property
    def covariance(self) -> Tensor:
        """Covariance `[2, 2]`: var x = 1/2, cov(x, y) = a, var y = 2a² + 1/2 + 1/(2b)."""
        return torch.tensor([[0.5, self.a], [self.a, 2 * self.a**2 + 0.5 + 0.5 / self.b]])

    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        """`n` independent points, `[n, 2]`."""
        z = _normal(n, 2, generator=generator)
        x = self.a + math.sqrt(0.5) * z[:, 0]
        return torch.stack([x, x * x + math.sqrt(0.5 / self.b) * z[:, 1]], -1)


class Himmelblau(Energy):
    """E(x, y) = c ((x² + y - 11)² + (x + y² - 7)²): four minima of energy 0 at unequal curvature.

    Args:
        scale: c > 0, an inverse temperature.

    References:
        Applied nonlinear programming (Himmelblau, 1972).
    """

    def __init__(self, *, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = _positive("scale", scale)

    def forward(self, x: Tensor) -> Tensor:
        check_event(x, (2,), type(self).__name__)
        u, v = x.unbind(-1)
        return self.scale * ((u * u + v - 11).square() + (u + v * v - 7).square())

    @property
    def minima(self) -> Tensor:
        """The four minima, `[4, 2]`, by Newton's method in float64 from tabled starts."""
        p = torch.tensor([[3.0, 2.0], [-2.805118, 3.131313], [-3.779310, -3.283186], [3.584428, -1.848127]], dtype=torch.float64)
        for _ in range(4):
            u, v = p.unbind(-1)
            residual = torch.stack([u * u + v - 11, u + v * v - 7], -1)
            one = torch.ones_like(u)
            jacobian = torch.stack([torch.stack([2 * u, one], -1), torch.stack([one, 2 * v], -1)], -2)
            p = p - torch.linalg.solve(jacobian, residual)
        return p.to(torch.get_default_dtype())


class Funnel(Energy):
    """Neal's funnel: v ~ N(0, s²), and each x_i | v ~ N(0, exp(v)); a point is (v, x_1, ..., x_{D-1}).

    E = v²/(2s²) + sum_i x_i² exp(-v)/2 + (D - 1) v/2. No one step size suits both the neck and the mouth.

    Args:
        dim: D >= 2.
        scale: s > 0.

    References:
        Slice sampling (Neal, 2003), section 8.
    """

    def __init__(self, dim: int = 2, *, scale: float = 3.0) -> None:
        super().__init__()
        if dim < 2:
            raise ValueError(f"expected dim >= 2; got {dim}")
        self.dim = dim
        self.scale = _positive("scale", scale)

    def forward(self, x: Tensor) -> Tensor:
        check_event(x, (self.dim,), type(self).__name__)
        v, rest = x[..., 0], x[..., 1:]
        return 0.5 * (v / self.scale).square() + 0.5 * torch.exp(-v) * rest.square().sum(-1) + 0.5 * (self.dim - 1) * v

    def log_partition(self) -> Tensor:
        """(D log 2π)/2 + log s."""
        return torch.tensor(0.5 * self.dim * math.log(2 * math.pi) + math.log(self.scale))

    @property
    def mean(self) -> Tensor:
        """0, `[D]`."""
        return torch.zeros(self.dim)

    @property
    def covariance(self) -> Tensor:
        """diag(s², exp(s²/2), ...), `[D, D]`."""
        return torch.diag(torch.tensor([self.scale**2] + [math.exp(0.5 * self.scale**2)] * (self.dim - 1)))

    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        """`n` independent points, `[n, D]`."""
        z = _normal(n, self.dim, generator=generator)
        v = self.scale * z[:, :1]
        return torch.cat([v, torch.exp(0.5 * v) * z[:, 1:]], -1)
