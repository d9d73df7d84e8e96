"""A diffusion sampler as a Markov policy: T Gaussian steps from noise to data, with exact path log-densities.

Levels count from data, k = 0, to noise, k = T. The policy starts at x_T ~ N(0, I) and acts
x_{k-1} ~ pi(. | x_k) = N(mu_k(x_k), sigma_k² I), k = T, ..., 1; a path is `x[T + 1, *batch, *event]` with `x[k]` at level k.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..functional import EnergyFunction, check_event, check_generator, expand_as, value_and_grad

LOG_2PI = math.log(2 * math.pi)


def cosine_alpha_bar(steps: int, *, lowest: float = 1e-3) -> tuple[float, ...]:
    """The signal share abar_k of levels 0..steps: cos² of a quarter turn, from 1 at the data to `lowest` at the noise.

    References:
        Improved denoising diffusion probabilistic models (Nichol, Dhariwal, 2021), equation 17.

    Example:
        >>> [round(a, 3) for a in cosine_alpha_bar(2)]
        [1.0, 0.485, 0.001]
    """
    if steps < 1:
        raise ValueError(f"expected steps >= 1; got {steps}")
    raw = [math.cos((k / steps + 0.02) / 1.02 * math.pi / 2) ** 2 for k in range(steps + 1)]
    return tuple(max(a / raw[0], lowest) for a in raw)


def spaced(steps: int, out_of: int) -> tuple[int, ...]:
    """`steps + 1` levels of a table of `out_of + 1`, from 0 to `out_of`, evenly spaced: a short sampler from a long one."""
    if not 1 <= steps <= out_of:
        raise ValueError(f"expected 1 <= steps <= {out_of}; got {steps}")
    return tuple(round(k * out_of / steps) for k in range(steps + 1))


class Path(NamedTuple):
    """A path of the policy and its log-density, in parts.

    x is `[T + 1, *batch, *event]`, x[k] at level k; log_start `[*batch]` is log N(x_T; 0, I); log_policy `[T, *batch]`
    has log pi(x_k | x_{k+1}) in row k.
    """

    x: Tensor
    log_start: Tensor
    log_policy: Tensor

    @property
    def log_prob(self) -> Tensor:
        """log pi(x_0, ..., x_T), exactly: `[*batch]`."""
        return self.log_start + self.log_policy.sum(0)


def gaussian_log_prob(x: Tensor, mean: Tensor, log_sigma: Tensor, event_ndim: int) -> Tensor:
    """log N(x; mean, diag exp(2 log_sigma)), summed over the last `event_ndim` axes; the arguments broadcast."""
    each = -0.5 * ((x - mean) * torch.exp(-log_sigma)).square() - log_sigma - 0.5 * LOG_2PI
    return each.flatten(each.ndim - event_ndim).sum(-1)


class DiffusionSampler(nn.Module):
    """The reverse process of a denoising diffusion as a policy with learned noise levels.

    mu_k(x) is the posterior mean of x_{k-1} given x_k = x and the predicted x_0 = (x - sqrt(1 - abar_k) eps_k(x)) / sqrt(abar_k).
    log sigma_k is a parameter for each step. It starts at the posterior's value, the last one, whose posterior is a
    point, at `last_sigma`: a policy needs noise in every action to have a density.

    Args:
        net: eps, called as `net(x, level)` with `level` an integer tensor that broadcasts to the batch.
        event_shape: of one point.
        table: `[N + 1]`, the signal share abar of every level that `net` knows, falling from 1.
        levels: `[T + 1]`, the levels of the table that the policy visits, from 0 to N; default all. A few of many make a
            short sampler from a long one.
        last_sigma: starting value of sigma_1.
        clip: bound on the predicted x_0 (1 for images in [-1, 1]); None for none.

    References:
        Denoising diffusion probabilistic models (Ho, Jain, Abbeel, 2020).
        Generalized contrastive divergence (Yoon et al., 2023).

    Example:
        >>> from ebmlearn.networks import StepMLP
        >>> pi = DiffusionSampler(StepMLP(2, 2, n_steps=6), event_shape=(2,), table=cosine_alpha_bar(5))
        >>> path = pi.path(7, generator=torch.Generator().manual_seed(0))
        >>> path.x.shape, path.log_policy.shape, bool(torch.allclose(pi.log_policy(path.x), path.log_policy, atol=1e-2))
        (torch.Size([6, 7, 2]), torch.Size([5, 7]), True)
    """

    table: Tensor
    alpha_bar: Tensor
    levels: Tensor

    def __init__(
        self,
        net: nn.Module,
        *,
        event_shape: Sequence[int],
        table: Sequence[float],
        levels: Sequence[int] | None = None,
        last_sigma: float = 0.1,
        clip: float | None = None,
    ) -> None:
        super().__init__()
        bars = torch.tensor(table, dtype=torch.float64)
        if len(bars) < 2 or bars[0] != 1 or bool((bars[1:] > bars[:-1]).any()) or bars[-1] <= 0 or bars[1] == 1:
            raise ValueError(f"expected a table of signal shares that falls from 1 and stays > 0; got {tuple(table)[:6]}")
        numbers = tuple(range(len(bars))) if levels is None else tuple(levels)
        if len(numbers) < 2 or numbers[0] != 0 or list(numbers) != sorted(set(numbers)) or numbers[-1] >= len(bars):
            raise ValueError(f"expected levels to rise from 0 and stay below {len(bars)}; got {numbers[:6]}")
        if last_sigma <= 0:
            raise ValueError(f"expected last_sigma > 0; got {last_sigma}")
        self.net = net
        self.event_shape = tuple(event_shape)
        self.last_sigma = last_sigma
        self.clip = clip
        dtype = torch.get_default_dtype()
        self.register_buffer("table", bars.to(dtype))
        bars = bars[list(numbers)]
        posterior = ((1 - bars[:-1]) / (1 - bars[1:]) * (1 - bars[1:] / bars[:-1])).sqrt()
        posterior[0] = last_sigma
        self.log_sigma = nn.Parameter(posterior.clamp(min=1e-4).log().to(dtype))
        self.register_buffer("alpha_bar", bars.to(dtype))
        self.register_buffer("levels", torch.tensor(numbers))

    def with_steps(self, steps: int) -> DiffusionSampler:
        """A sampler of the same network that visits `steps` evenly spaced levels of the table, at the starting sigmas."""
        other = DiffusionSampler(
            self.net,
            event_shape=self.event_shape,
            table=self.table.tolist(),
            levels=spaced(steps, len(self.table) - 1),
            last_sigma=self.last_sigma,
            clip=self.clip,
        )
        return other.to(self.log_sigma.device, self.log_sigma.dtype)

    @property
    def steps(self) -> int:
        """T, the number of actions of a path and of network calls of a sample."""
        return len(self.levels) - 1

    @property
    def dim(self) -> int:
        """Numbers in one point."""
        return math.prod(self.event_shape)

    def predict_clean(self, x: Tensor, k: Tensor) -> Tensor:
        """x_0 as predicted from x at level k >= 1 (`k` broadcasts to the batch)."""
        batch = x.shape[: x.ndim - len(self.event_shape)]
        bar = expand_as(self.alpha_bar[k].expand(batch), x)
        x0 = (x - (1 - bar).sqrt() * self.net(x, self.levels[k])) / bar.sqrt()
        return x0 if self.clip is None else x0.clamp(-self.clip, self.clip)

    def mean(self, x: Tensor, k: Tensor) -> Tensor:
        """mu_k(x): where the policy aims from x at level k, `[*batch, *event]`."""
        check_event(x, self.event_shape, "DiffusionSampler")
        batch = x.shape[: x.ndim - len(self.event_shape)]
        bar, before = (expand_as(self.alpha_bar[j].expand(batch), x) for j in (k, k - 1))
        alpha = bar / before
        x0 = self.predict_clean(x, k)
        return (before.sqrt() * (1 - alpha) * x0 + alpha.sqrt() * (1 - before) * x) / (1 - bar)

    def log_step(self, x: Tensor, y: Tensor, k: Tensor) -> Tensor:
        """log pi(y | x) of the action from x at level k to y at level k - 1, `[*batch]`."""
        batch = x.shape[: x.ndim - len(self.event_shape)]
        log_sigma = expand_as(self.log_sigma[k - 1].expand(batch), x)
        return gaussian_log_prob(y, self.mean(x, k), log_sigma, len(self.event_shape))

    def log_start(self, x: Tensor) -> Tensor:
        """log N(x; 0, I), `[*batch]`."""
        return gaussian_log_prob(x, torch.zeros_like(x), torch.zeros_like(x), len(self.event_shape))

    def step_levels(self, x: Tensor) -> Tensor:
        """1..T shaped to broadcast against the batch of a path x, one level a row."""
        if x.shape[0] != self.steps + 1:
            raise ValueError(f"expected a path with {self.steps + 1} levels first; got x of shape {tuple(x.shape)}")
        k = torch.arange(1, self.steps + 1, device=x.device)
        return k.reshape(-1, *(1,) * (x.ndim - 1 - len(self.event_shape)))

    def log_policy(self, x: Tensor) -> Tensor:
        """log pi(x_{k-1} | x_k) of a given path `[T + 1, *batch, *event]`: `[T, *batch]`, in one network call."""
        return self.log_step(x[1:], x[:-1], self.step_levels(x))

    forward = log_policy

    def entropies(self) -> Tensor:
        """Entropy of each step's Gaussian, d/2 (1 + log 2 pi) + d log sigma_k: `[T]`."""
        return self.dim * (self.log_sigma + 0.5 * (1 + LOG_2PI))

    def path(self, n: int, *, generator: torch.Generator | None = None) -> Path:
        """`n` paths, reparametrised: gradients flow through all T steps unless taken under `torch.no_grad()`."""
        device, dtype = self.log_sigma.device, self.log_sigma.dtype
        check_generator(generator, self.log_sigma)
        noise = torch.randn(self.steps + 1, n, *self.event_shape, generator=generator, device=device, dtype=dtype)
        x, xs, logs = noise[0], [noise[0]], []
        for k in range(self.steps, 0, -1):
            level = torch.tensor(k, device=device)
            eps = noise[self.steps - k + 1]
            x = self.mean(x, level) + self.log_sigma[k - 1].exp() * eps
            xs.append(x)
            logs.append(-0.5 * eps.square().flatten(1).sum(-1) - self.dim * (self.log_sigma[k - 1] + 0.5 * LOG_2PI))
        return Path(torch.stack(xs[::-1]), self.log_start(noise[0]), torch.stack(logs[::-1]))

    @torch.no_grad()
    def sample(
        self,
        n: int,
        *,
        generator: torch.Generator | None = None,
        guidance: float = 0.0,
        value: Callable[[Tensor, int], Tensor] | None = None,
    ) -> Tensor:
        """`n` points x_0. With `guidance` g and a value V(x, k), every action also moves by -g sigma_k grad V.

        Args:
            guidance: g >= 0; low V is good, so positive g improves it. 0 is the policy itself.
            value: V(x, k) at level k, e.g. `lambda x, k: energy(x)`.

        References:
            Maximum entropy inverse reinforcement learning of diffusion models with energy-based models (Yoon et al., 2024).
        """
        if guidance != 0 and value is None:
            raise ValueError("guidance needs a value function V(x, k), e.g. value=lambda x, k: energy(x)")
        device, dtype = self.log_sigma.device, self.log_sigma.dtype
        x = torch.randn(n, *self.event_shape, generator=generator, device=device, dtype=dtype)
        for k in range(self.steps, 0, -1):
            sigma = self.log_sigma[k - 1].exp()
            eps = torch.randn(x.shape, generator=generator, device=device, dtype=dtype)
            x = self.mean(x, torch.tensor(k, device=device)) + sigma * eps
            if guidance != 0 and value is not None:
                low: EnergyFunction = lambda y, k=k: value(y, k - 1)  # type: ignore[misc]
                x = x - guidance * sigma * value_and_grad(low, x)[1]
        return x

    @torch.no_grad()
    def ddim(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        """`n` points by the deterministic sampler of the same network; only the starting noise is random.

        References:
            Denoising diffusion implicit models (Song, Meng, Ermon, 2021), equation 12 with sigma = 0.
        """
        device, dtype = self.log_sigma.device, self.log_sigma.dtype
        x = torch.randn(n, *self.event_shape, generator=generator, device=device, dtype=dtype)
        for k in range(self.steps, 0, -1):
            bar, before = self.alpha_bar[k], self.alpha_bar[k - 1]
            x0 = self.predict_clean(x, torch.tensor(k, device=device))
            eps = (x - bar.sqrt() * x0) / (1 - bar).sqrt()
            x = before.sqrt() * x0 + (1 - before).sqrt() * eps
        return x

    def denoising_loss(self, x: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """mean |eps - net(sqrt(abar_k) x + sqrt(1 - abar_k) eps, k)|² over a random level of the whole table for each point of
        x `[n, *event]`: how a sampler is pretrained. It trains the network, not the sigmas.

        References:
            Denoising diffusion probabilistic models (Ho, Jain, Abbeel, 2020), equation 14.
        """
        k = torch.randint(1, len(self.table), (len(x),), generator=generator, device=x.device)
        eps = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
        bar = expand_as(self.table[k], x)
        loss = (self.net(bar.sqrt() * x + (1 - bar).sqrt() * eps, k) - eps).square().mean()
        return loss + 0 * self.log_sigma.sum()  # data-parallel training expects a gradient of every parameter


class Backward(nn.Module):
    """A backward kernel q(x_k | x_{k-1}): the diffusion's own noising step, that plus a learned correction, or a random walk.

    q = N(sqrt(alpha_k) x + g_k(x), (1 - alpha_k) exp(2 h_k(x))), with (g, h) = net(x, k), or zero without a net. The walk is
    N(x, s_k² I) with learned s_k. Every q gives the bound H(pi(x_0)) >= E_pi[sum_k log q(x_k | x_{k-1}) - log pi(path)],
    and E_pi[exp(log q - log pi - E)] = Z; the bound is tight when q is the policy's own posterior.

    Args:
        alpha_bar: `[T + 1]`, as the sampler's.
        event_shape: of one point.
        net: returns twice as many channels (first event axis) as x has, g then h; None for the fixed kernel.
        walk: the random walk instead; takes no net.

    References:
        Auxiliary deep generative models (Maaløe et al., 2016), for the bound.
        Maximum entropy inverse reinforcement learning of diffusion models with energy-based models (Yoon et al., 2024), for the walk.
    """

    alpha_bar: Tensor

    def __init__(
        self, alpha_bar: Tensor, *, event_shape: Sequence[int], net: nn.Module | None = None, walk: bool = False
    ) -> None:
        super().__init__()
        if walk and net is not None:
            raise ValueError("a random walk takes no net; leave walk=False to learn a correction of the noising step")
        self.event_shape = tuple(event_shape)
        self.net = net
        self.log_walk = nn.Parameter(0.5 * torch.log(1 - alpha_bar[1:] / alpha_bar[:-1])) if walk else None
        self.register_buffer("alpha_bar", alpha_bar.clone())

    def log_step(self, clean: Tensor, noisy: Tensor) -> Tensor:
        """log q(noisy[k - 1] | clean[k - 1]) for every step k = 1..T, both `[T, *batch, *event]`: `[T, *batch]`."""
        ones = (1,) * (clean.ndim - 1)
        event_ndim = len(self.event_shape)
        if self.log_walk is not None:
            return gaussian_log_prob(noisy, clean, self.log_walk.reshape(-1, *ones).expand_as(clean), event_ndim)
        alpha = (self.alpha_bar[1:] / self.alpha_bar[:-1]).reshape(-1, *ones)
        mean, log_sigma = alpha.sqrt() * clean, 0.5 * torch.log1p(-alpha).expand_as(clean)
        if self.net is not None:
            k = torch.arange(1, len(clean) + 1, device=clean.device).reshape(-1, *ones[event_ndim:])
            g, h = self.net(clean, k).chunk(2, dim=-event_ndim)
            mean, log_sigma = mean + g, log_sigma + h
        return gaussian_log_prob(noisy, mean, log_sigma, event_ndim)

    def forward(self, x: Tensor) -> Tensor:
        """log q of every step of a path `[T + 1, *batch, *event]`: `[T, *batch]`, row k - 1 between the levels k - 1 and k."""
        return self.log_step(x[:-1], x[1:])
