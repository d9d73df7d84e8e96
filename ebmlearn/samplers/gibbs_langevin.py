"""Samplers of Gaussian-Bernoulli RBMs: Gibbs-Langevin in one exact draw, its exact and looped forms, a Metropolis test, and annealed chains."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from ..energies.base import JointEnergy
from ..energies.rbm import bernoulli, softplus
from ..functional import expand_as
from .base import Info, State, check_positive, normal_like
from .gibbs import check_joint


class Sweep(NamedTuple):
    """What a sweep of a Gaussian-Bernoulli RBM leaves beside its position: the hidden state, and E[x | z] = mu + W z."""

    z: Tensor
    mean: Tensor


def collapse(steps: Tensor, variance: Tensor, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """K Langevin steps on a Gaussian as one draw: x_K | x_0 ~ N(b x_0 + (1 - b) m, n² I), for each dimension.

    With E = (x - m)²/(2 s²), a step x <- x - eta_k grad E / T + sqrt(2 eta_k) xi multiplies the deviation from m by
    a_k = 1 - eta_k/(T s²) and adds noise; so b = prod_k a_k and n² = sum_k 2 eta_k prod_(l>k) a_l².

    Args:
        steps: eta_k, `[K]` or `[K, D]`.
        variance: s², `[D]`.
        temperature: T.

    Returns:
        b and n, `[D]` each.

    Example:
        >>> b, n = collapse(torch.full((1,), 1.0), torch.ones(1))  # one step of eta = s² forgets x_0
        >>> b.item(), round(n.item() ** 2, 6)
        (0.0, 2.0)
    """
    eta = (steps if steps.ndim == 2 else steps[:, None]).expand(-1, len(variance))
    a = 1 - eta / (temperature * variance)
    later = torch.cat([a[1:].flip(0).cumprod(0).flip(0), torch.ones_like(a[:1])])
    return a[0] * later[0], (2 * eta * later.square()).sum(0).sqrt()


def _check_grbm(energy: object, owner: str) -> None:
    check_joint(energy, owner)
    if not all(hasattr(energy, name) for name in ("variance", "mean", "logits", "visible_energy")):
        raise ValueError(
            f"{owner} expected a GaussianBernoulliRBM, whose p(x | z) is Gaussian; got {type(energy).__name__}. Use Gibbs"
        )


def _pair_energy(energy: Any, x: Tensor, z: Tensor, mean: Tensor) -> Tensor:
    """E(x, z) from the conditional mean at hand, without another product with W."""
    return energy.visible_energy(x) - (x * ((mean - energy.mu) / energy.variance)).sum(-1) - z @ energy.b


def _unstable(factors: Tensor, steps: Tensor, variance: Tensor, temperature: float) -> str | None:
    """Why a Langevin step is unstable: the worst dimension and its |1 - eta/(T s²)|; None when it is stable."""
    worst = int(factors.abs().argmax())
    if float(factors.abs()[worst]) < 1:
        return None
    return (
        f"unstable step: |1 - eta/(T s²)| = {float(factors.abs()[worst]):.3g} must be < 1, but in dimension {worst} eta = {float(steps[worst]):.4g}, "
        f"T = {temperature:g}, s² = {float(variance[worst]):.4g}. Lower step_size below {2 * temperature * float((variance / steps)[worst]):.3g} "
        "times the present one, or use scale='dimension', which gives every dimension its own step"
    )


@dataclass(frozen=True, kw_only=True)
class GibbsLangevin:
    """Gibbs-Langevin: z ~ p(z | x), then K Langevin steps on x at fixed z, drawn as ONE exact step (see `collapse`).

    For fixed z the energy is a separable quadratic, so the law of the K steps is x' = b x + (1 - b)(mu + W z) + n xi: Gibbs
    with memory b, at a cost that does not depend on K. b = 0, n = s sqrt(T) is Gibbs. Unlike Gibbs it has a small bias: given z
    its stationary variance is n²/(1 - b²), not T s²; `MemoryGibbs` has none, and `MetropolisSweep` removes it.

    Args:
        step_size: eta; in units of s_i² for each dimension i, or of the mean of s² when scale is "mean".
        n_inner: K.
        temperature: T of the target exp(-E/T). It is never the batch size, unless that is what you pass.
        hidden_temperature: of p(z | x); None is T. Any other value makes the two conditionals those of no joint law.
        anneal: eta_k = eta (1 + cos(pi k/K))/2 for k = 0..K-1, else eta.
        scale: "dimension": every dimension its own step, stable at any learned variance; "mean": one step for all.

    References:
        Gaussian-Bernoulli RBMs without tears (Liao, Kornblith, Ren, Fleet, Hinton, 2022).
    """

    step_size: float
    n_inner: int
    temperature: float = 1.0
    hidden_temperature: float | None = None
    anneal: bool = True
    scale: Literal["dimension", "mean"] = "dimension"

    def __post_init__(self) -> None:
        check_positive("step_size", self.step_size)
        check_positive("temperature", self.temperature)
        if self.hidden_temperature is not None:
            check_positive("hidden_temperature", self.hidden_temperature)
        if self.n_inner < 1:
            raise ValueError(f"expected n_inner >= 1; got {self.n_inner}")
        if self.scale not in ("dimension", "mean"):
            raise ValueError(f"expected scale to be 'dimension' or 'mean'; got {self.scale!r}")
        if self.scale == "dimension":
            self.check_stable(torch.ones(1, dtype=torch.float64))

    @classmethod
    def released(cls, *, batch_size: int, step_size: float = 20.0, n_inner: int = 10, anneal: bool = True) -> GibbsLangevin:
        """The scaling of the paper's released program, which divides the gradient by the batch size.

        With noise sqrt(2 eta) that is temperature T = batch_size for x, while z keeps temperature 1, and one step for all
        dimensions. Such a chain does not sample exp(-F); its conditional means are what look like data.
        """
        return cls(
            step_size=step_size, n_inner=n_inner, temperature=batch_size, hidden_temperature=1.0, anneal=anneal, scale="mean"
        )

    @property
    def z_temperature(self) -> float:
        """Temperature of p(z | x)."""
        return self.temperature if self.hidden_temperature is None else self.hidden_temperature

    def steps(self, variance: Tensor) -> Tensor:
        """eta_k for each dimension, `[K, D]`."""
        k = torch.arange(self.n_inner, dtype=variance.dtype, device=variance.device)
        eta = self.step_size * (0.5 * (1 + torch.cos(math.pi * k / self.n_inner)) if self.anneal else torch.ones_like(k))
        unit = variance if self.scale == "dimension" else variance.mean().expand_as(variance)
        return eta[:, None] * unit

    def coefficients(self, variance: Tensor) -> tuple[Tensor, Tensor]:
        """Memory b and noise n of one sweep, `[D]` each."""
        return collapse(self.steps(variance), variance, self.temperature)

    def check_stable(self, variance: Tensor) -> None:
        """Raise a ValueError that names the dimension unless |1 - eta_k/(T s_d²)| < 1 for all k and d."""
        first = self.steps(variance)[0]
        problem = _unstable(1 - first / (self.temperature * variance), first, variance, self.temperature)
        if problem:
            raise ValueError(problem)

    def init(self, energy: JointEnergy, x: Tensor) -> State:
        _check_grbm(energy, type(self).__name__)
        self.check_stable(energy.variance.detach())  # type: ignore[arg-type, union-attr]
        return State(x.detach())

    def step(self, energy: Any, state: State, *, generator: torch.Generator | None = None) -> tuple[State, Info]:
        with torch.no_grad():
            z = energy.sample_z(state.x, temperature=self.z_temperature, generator=generator)
            mean = energy.mean(z)
            b, n = self.coefficients(energy.variance)
            x = mean + b * (state.x - mean) + n * normal_like(mean, generator)
            e = _pair_energy(energy, x, z, mean)
        return State(x, e, None, Sweep(z, mean)), Info(torch.ones_like(e))


@dataclass(frozen=True, kw_only=True)
class LoopedGibbsLangevin:
    """Gibbs-Langevin as it is written: K steps x <- x - eta_k grad E(x, z)/T + sqrt(2 eta_k) xi, each with its own product W z.

    The same law as the `GibbsLangevin` it is made from, K times the work: for teaching, tests and the benchmark.
    """

    kernel: GibbsLangevin

    def init(self, energy: JointEnergy, x: Tensor) -> State:
        return self.kernel.init(energy, x)

    def step(self, energy: Any, state: State, *, generator: torch.Generator | None = None) -> tuple[State, Info]:
        with torch.no_grad():
            x = state.x
            z = energy.sample_z(x, temperature=self.kernel.z_temperature, generator=generator)
            for eta in self.kernel.steps(energy.variance):
                mean = energy.mean(z)
                grad = (x - mean) / energy.variance
                x = x - eta * grad / self.kernel.temperature + (2 * eta).sqrt() * normal_like(x, generator)
            e = _pair_energy(energy, x, z, mean)
        return State(x, e, None, Sweep(z, mean)), Info(torch.ones_like(e))


@dataclass(frozen=True, kw_only=True)
class MemoryGibbs:
    """Gibbs with exact memory: x' = b x + (1 - b)(mu + W z) + s sqrt(T (1 - b²)) xi leaves p(x | z) exactly invariant.

    The autoregressive form of Gibbs-Langevin without its bias; b = 0 is Gibbs, b < 0 is Adler's overrelaxation.

    Args:
        memory: b, between -1 and 1.
        temperature: T of the target exp(-E/T).

    References:
        Over-relaxation method for the Monte Carlo evaluation of the partition function for multiquadratic actions (Adler, 1981).
    """

    memory: float = 0.0
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not -1 < self.memory < 1:
            raise ValueError(f"expected -1 < memory < 1; got {self.memory}")
        check_positive("temperature", self.temperature)

    @property
    def z_temperature(self) -> float:
        """Temperature of p(z | x)."""
        return self.temperature

    def coefficients(self, variance: Tensor) -> tuple[Tensor, Tensor]:
        """Memory b and noise n of one sweep, `[D]` each."""
        return torch.full_like(variance, self.memory), (self.temperature * (1 - self.memory**2) * variance).sqrt()

    def check_stable(self, variance: Tensor) -> None:
        """Nothing to check: |b| < 1."""

    def init(self, energy: JointEnergy, x: Tensor) -> State:
        _check_grbm(energy, type(self).__name__)
        return State(x.detach())

    def step(self, energy: Any, state: State, *, generator: torch.Generator | None = None) -> tuple[State, Info]:
        with torch.no_grad():
            z = energy.sample_z(state.x, temperature=self.temperature, generator=generator)
            mean = energy.mean(z)
            b, n = self.coefficients(energy.variance)
            x = mean + b * (state.x - mean) + n * normal_like(mean, generator)
            e = _pair_energy(energy, x, z, mean)
        return State(x, e, None, Sweep(z, mean)), Info(torch.ones_like(e))


@dataclass(frozen=True, kw_only=True)
class MetropolisSweep:
    """A Metropolis test of a whole sweep (x, z) -> (x', z'), x' from the kernel's Gaussian at fixed z, z' ~ p(z | x').

    Accepted with probability min(1, exp([F_T(x) - F_T(x')]/T) q(x | x', z')/q(x' | x, z)), so that exp(-E/T) is exactly
    stationary. Logits and means are kept: two products with W a sweep, as without the test. `State.energy` is F_T(x).

    Args:
        kernel: `GibbsLangevin` with one temperature, or `MemoryGibbs`.

    References:
        Gaussian-Bernoulli RBMs without tears (Liao, Kornblith, Ren, Fleet, Hinton, 2022).
    """

    kernel: GibbsLangevin | MemoryGibbs

    def __post_init__(self) -> None:
        if not isinstance(self.kernel, (GibbsLangevin, MemoryGibbs)):
            raise ValueError(f"expected a GibbsLangevin or MemoryGibbs kernel; got {type(self.kernel).__name__}")
        if self.kernel.z_temperature != self.kernel.temperature:
            raise ValueError(
                f"a Metropolis test needs one joint target; got temperature {self.kernel.temperature:g} for x and "
                f"{self.kernel.z_temperature:g} for z. Leave hidden_temperature at None"
            )

    def init(self, energy: JointEnergy, x: Tensor) -> State:
        self.kernel.init(energy, x)
        with torch.no_grad():
            return State(x.detach(), energy.marginalise(1 / self.kernel.temperature)(x))

    def step(self, energy: Any, state: State, *, generator: torch.Generator | None = None) -> tuple[State, Info]:
        t = self.kernel.temperature
        with torch.no_grad():
            if state.aux is None:
                z = energy.sample_z(state.x, temperature=t, generator=generator)
                state = state._replace(aux=Sweep(z, energy.mean(z)))
            b, n = self.kernel.coefficients(energy.variance)
            noise = normal_like(state.x, generator)
            x = state.aux.mean + b * (state.x - state.aux.mean) + n * noise
            a = energy.logits(x) / t
            z = bernoulli(torch.sigmoid(a), generator)
            mean = energy.mean(z)
            free = energy.visible_energy(x) - t * softplus(a).sum(-1)
            back = (state.x - mean - b * (x - mean)) / n
            log_q = 0.5 * (noise.square() - back.square()).sum(-1)
            log_ratio = (state.energy - free) / t + log_q  # type: ignore[operator]
            prob = torch.where(torch.isfinite(log_ratio), log_ratio, -math.inf).clamp(max=0).exp()
            yes = torch.rand(prob.shape, dtype=prob.dtype, device=prob.device, generator=generator) < prob

            def pick(new: Tensor, old: Tensor) -> Tensor:
                return torch.where(expand_as(yes, new), new, old)

            aux = Sweep(pick(z, state.aux.z), pick(mean, state.aux.mean))
            return State(pick(x, state.x), pick(free, state.energy), None, aux), Info(prob)  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False, kw_only=True)
class AnnealedPath:
    """A geometric path from a Gaussian with independent fair (or biased) hidden units to a Gaussian-Bernoulli RBM.

    f_beta(x, z) = N-exponent of the base to the power 1 - beta, times exp(-beta E(x, z)). Summed over z,
    log f_beta(x) = -(1 - beta) q0/2 - beta qm/2 + sum_j softplus(a_j(beta)), q0 = |x - m0|²/v0, qm = |x - mu|²/s², with
    a_j(beta) = beta a_j, or b_j + beta (a_j - b_j) when `keep_bias`. Along it run annealed importance sampling and annealed CD.

    Args:
        mean: m0 of the base, `[D]`.
        variance: v0 of the base, `[D]`.
        keep_bias: keep the hidden biases at full strength along the whole path.
    """

    mean: Tensor
    variance: Tensor
    keep_bias: bool = False

    def logits(self, rbm: Any, a: Tensor, beta: float) -> Tensor:
        """a_j(beta) from a_j."""
        return rbm.b + beta * (a - rbm.b) if self.keep_bias else beta * a

    def start(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """n draws from the base, `[n, D]`."""
        shape = (n, len(self.mean))
        noise = torch.randn(shape, dtype=self.mean.dtype, device=self.mean.device, generator=generator)
        return self.mean + self.variance.sqrt() * noise

    def log_partition(self, rbm: Any) -> Tensor:
        """log Z of the base."""
        units = softplus(rbm.b).sum() if self.keep_bias else torch.as_tensor(rbm.n_hidden * math.log(2.0))
        return 0.5 * (math.log(2 * math.pi) + self.variance.log()).sum() + units

    def log_ratio(self, rbm: Any, x: Tensor, a: Tensor, before: float, after: float) -> Tensor:
        """log f_after(x) - log f_before(x), `[*batch]`: what the log importance weight grows by."""
        q0 = ((x - self.mean).square() / self.variance).sum(-1)
        qm = 2 * rbm.visible_energy(x)
        units = softplus(self.logits(rbm, a, after)) - softplus(self.logits(rbm, a, before))
        return 0.5 * (after - before) * (q0 - qm) + units.sum(-1)

    def sweep(self, rbm: Any, a: Tensor, beta: float, generator: torch.Generator | None = None) -> Tensor:
        """One Gibbs sweep that leaves f_beta invariant, from the logits a of the present x."""
        z = bernoulli(torch.sigmoid(self.logits(rbm, a, beta)), generator)
        base, own = (1 - beta) / self.variance, beta / rbm.variance
        precision = base + own
        m = (base * self.mean + own * rbm.mean(z)) / precision
        return m + normal_like(m, generator) / precision.sqrt()


def annealed_chains(
    rbm: Any, path: AnnealedPath, n: int, sweeps: int, *, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """n chains along the path, beta = 1/k, 2/k, ..., 1: positions `[n, D]` and log importance weights `[n]`.

    E[exp(log weight)] = Z / Z_base exactly, and weighted averages of functions of x are consistent for the model, at any
    number of sweeps.

    References:
        Annealed importance sampling (Neal, 2001).
        On the quantitative analysis of deep belief networks (Salakhutdinov, Murray, 2008).
        Efficient training of energy-based models using Jarzynski equality (Carbone, Hua, Coste, Vanden-Eijnden, 2023), which
        weights chains in the same way along the path that training takes, where here each update anneals afresh.
    """
    if n < 1 or sweeps < 1:
        raise ValueError(f"expected n >= 1 chains and sweeps >= 1; got {n} and {sweeps}")
    with torch.no_grad():
        x = path.start(n, generator)
        log_w = torch.zeros(n, dtype=x.dtype, device=x.device)
        for t in range(1, sweeps + 1):
            a = rbm.logits(x)
            log_w += path.log_ratio(rbm, x, a, (t - 1) / sweeps, t / sweeps)
            x = path.sweep(rbm, a, t / sweeps, generator)
    return x, log_w
