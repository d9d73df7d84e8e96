"""Contrastive divergence: maximum likelihood with negatives from short Markov chains (CD-k, PCD, replay buffer)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from .. import datasets
from ..energies.base import Energy
from ..energies.neural import MLPEnergy, NormEnergy
from ..objectives import contrastive_divergence, energy_l2, gradient_penalty
from ..samplers import Clamped, Kernel, Langevin, ReplayBuffer, sample
from .engine import write_png
from .processes import share
from .state import (
    BatchStream,
    Metrics,
    RunOptions,
    TrainState,
    bare,
    ema_of,
    generator_of,
    gradient_norm,
    make_fabric,
    resume,
    run,
)

Augment = Callable[[Tensor, torch.Generator | None], Tensor]


@dataclass(frozen=True, kw_only=True)
class CDConfig:
    """Hyperparameters of contrastive divergence; the defaults are those of the 8x8 digits.

    Args:
        data: a name from `ebmlearn data`, or a path to own data.
        seed: of the parameters, the batch order, the buffer and the chains.
        steps: parameter updates.
        batch_size: data points, and chains, an update.
        hidden_features: widths of the network.
        out_features: 0 for a scalar network plus a quadratic confinement; k for E(x) = 1/2 |f(x)|² with f in R^k.
        step_size: Langevin step eta.
        noise: standard deviation of the Langevin noise; None is sqrt(2 eta), temperature 1.
        mcmc_steps: Langevin steps an update.
        negatives: "buffer" (persistent chains), "data" (CD-k) or "noise" (short-run chains from fresh starts).
        buffer_size: persistent chains kept.
        restart_prob: probability with which a drawn chain starts afresh.
        low, high: box of fresh starts.
        clamp: keep chains inside the box (images in [0, 1]).
        data_noise: standard deviation of noise added to data; 0 is none.
        augment: mild affine jitter of drawn buffer images before the steps, which helps chains to mix.
        learning_rate: Adam's; warmed up linearly over `warm_up` steps, constant to 60 %, then linear to 5 %.
        energy_l2: weight of mean E(x+)² + mean E(x-)².
        gradient_penalty: weight of mean |grad E|² at data and samples.
        ema: decay of the parameters' moving average.
    """

    data: str = "digits"
    seed: int = 0
    steps: int = 2200
    batch_size: int = 64
    hidden_features: tuple[int, ...] = (256, 256, 256)
    out_features: int = 32
    step_size: float = 0.1
    noise: float | None = 0.01
    mcmc_steps: int = 30
    negatives: str = "buffer"
    buffer_size: int = 2000
    restart_prob: float = 0.01
    low: float = 0.0
    high: float = 1.0
    clamp: bool = True
    data_noise: float = 0.0
    augment: bool = True
    learning_rate: float = 3e-4
    warm_up: int = 200
    energy_l2: float = 1.0
    gradient_penalty: float = 0.0
    ema: float = 0.998


POINTS = CDConfig(
    data="8gaussians",
    steps=1500,
    batch_size=256,
    hidden_features=(128, 128, 128),
    out_features=0,
    step_size=0.01,
    noise=None,
    mcmc_steps=20,
    restart_prob=0.02,
    low=-4.0,
    high=4.0,
    clamp=False,
    augment=False,
    learning_rate=2e-3,
    warm_up=0,
    energy_l2=0.0,
)


def cd_preset(data: str) -> CDConfig:
    """The settings to start from: images in [0, 1] for image sets, exact temperature 1 for points in the plane."""
    from dataclasses import replace

    return replace(POINTS if len(datasets.load(data, split="test", limit=1).event_shape) == 1 else CDConfig(), data=data)


@dataclass
class CDState(TrainState):
    """Everything the future of a run depends on."""

    energy: nn.Module
    optimizer: Any
    ema: nn.Module
    generator: torch.Generator
    batches: BatchStream
    buffer: ReplayBuffer | None = field(default=None)


def learning_rate_at(step: int, *, peak: float, warm_up: int, steps: int) -> float:
    """Linear warm-up, constant to 60 % of the run, then linear to 5 % of the peak."""
    if step < warm_up:
        return peak * (step + 1) / warm_up
    late = max(0.0, (step / max(steps, 1) - 0.6) / 0.4)
    return peak * (1 - 0.95 * min(late, 1.0))


def train_cd(
    fabric: Any,
    state: CDState,
    *,
    kernel: Kernel,
    mcmc_steps: int,
    fresh: Callable[[int], Tensor],
    negatives: str = "buffer",
    data_noise: float = 0.0,
    augment: Augment | None = None,
    prepare: Augment | None = None,
    l2: float = 0.0,
    penalty: float = 0.0,
    learning_rate: Callable[[int], float] | None = None,
) -> Iterator[Metrics]:
    """Train for ever, one update a `next`; the body of your `for` is the callback.

    Each update draws data x+ and chains x-, moves the chains `mcmc_steps` steps under the current energy, and descends
    mean E(x+) - mean E(x-) + l2 (mean E(x+)² + mean E(x-)²) + penalty mean |grad E|².

    Args:
        fabric: from `make_fabric`.
        state: advanced in place, one `state.step` before each yield.
        kernel: moves the chains; chains run through the bare module, the loss takes one wrapped forward.
        fresh: n -> starting points `[n, *event]` of new chains.
        negatives: where chains start: "buffer", "data" (CD-k) or "noise".
        augment: applied to the chains drawn from the buffer, before they move.
        prepare: applied to each batch of data, e.g. fresh dequantisation noise.
        learning_rate: of the step number; None leaves the optimizer's own.

    Yields:
        e_pos, e_neg (mean energies), loss, grad_norm, and buffer_age (updates since the chain's last restart).

    References:
        Training restricted Boltzmann machines using approximations to the likelihood gradient (Tieleman, 2008).
        Implicit generation and modeling with energy-based models (Du, Mordatch, 2019).
    """
    if negatives not in ("buffer", "data", "noise"):
        raise ValueError(f"expected negatives to be 'buffer', 'data' or 'noise'; got {negatives!r}")
    if negatives == "buffer" and state.buffer is None:
        raise ValueError("negatives from a buffer need state.buffer; give one or choose negatives='noise'")
    g = state.generator
    energy = bare(state.energy)
    while True:
        (x_pos,) = state.batches.next()
        x_pos = x_pos if prepare is None else prepare(x_pos, g)
        if data_noise:
            x_pos = x_pos + data_noise * torch.randn(x_pos.shape, generator=g, device=x_pos.device)
        index = None
        if negatives == "buffer":
            assert state.buffer is not None
            index, x = state.buffer.draw(fresh(len(x_pos)), generator=g)
            x = x if augment is None else augment(x, g)
        else:
            x = x_pos if negatives == "data" else fresh(len(x_pos))
        x_neg = sample(energy, kernel, x, mcmc_steps, generator=g)
        if index is not None:
            assert state.buffer is not None
            state.buffer.store(index, x_neg)
        if learning_rate is not None:
            for group in state.optimizer.param_groups:
                group["lr"] = learning_rate(state.step)
        e_pos, e_neg = state.energy(torch.cat([x_pos, x_neg])).chunk(2)
        loss = contrastive_divergence(e_pos, e_neg)
        if l2:
            loss = loss + l2 * energy_l2(e_pos, e_neg)
        if penalty:
            loss = loss + penalty * gradient_penalty(energy, torch.cat([x_pos, x_neg]))
        state.optimizer.zero_grad()
        fabric.backward(loss)
        norm = gradient_norm(state.energy)
        state.optimizer.step()
        state.ema.update_parameters(energy)  # type: ignore[operator]
        state.step += 1
        metrics = {
            "e_pos": e_pos.mean().detach(),
            "e_neg": e_neg.mean().detach(),
            "loss": loss.detach(),
            "grad_norm": norm,
        }
        if state.buffer is not None:
            metrics["buffer_age"] = state.buffer.age.float().mean()
        yield metrics


def build_energy(config: CDConfig, event_shape: tuple[int, ...]) -> Energy:
    """The energy that a configuration trains, for points or images of `event_shape`."""
    if config.out_features == 0:
        return MLPEnergy(event_shape, hidden_features=config.hidden_features, confinement=0.05)
    return NormEnergy(event_shape, hidden_features=config.hidden_features, out_features=config.out_features)


def kernel_of(config: CDConfig) -> Kernel:
    """The Langevin kernel of a configuration, clamped to its box where it says so."""
    kernel = Langevin(step_size=config.step_size, noise=config.noise)
    return Clamped(kernel=kernel, low=config.low, high=config.high) if config.clamp else kernel


def uniform_starts(config: CDConfig, event_shape: tuple[int, ...], generator: torch.Generator) -> Callable[[int], Tensor]:
    """n -> uniform points in the configuration's box."""
    return lambda n: (
        config.low + (config.high - config.low) * torch.rand((n, *event_shape), generator=generator, device=generator.device)
    )


def fresh_samples(
    energy: Energy,
    config: CDConfig,
    event_shape: tuple[int, ...],
    n: int,
    *,
    generator: torch.Generator,
    rounds: int = 20,
    steps: int | None = None,
) -> Tensor:
    """Samples from fresh noise, moved as chains are in training: `rounds` of jitter (not in the first) and kernel steps.

    Args:
        rounds: each gives the chains longer to mix; fewer than about ten leave noise behind on the digits.
        steps: in a round, twice as many in the last; None is the training's `mcmc_steps`.
    """
    steps = config.mcmc_steps if steps is None else steps
    x = uniform_starts(config, event_shape, generator)(n)
    for i in range(rounds):
        if i > 0 and config.augment:
            x = jitter(x, generator)
        x = sample(energy, kernel_of(config), x, steps if i < rounds - 1 else 2 * steps, generator=generator)
    return x


def jitter(x: Tensor, generator: torch.Generator | None) -> Tensor:
    """A mild affine change of each image: shift up to 9 % of the width, zoom 10 %, rotation 0.1 rad."""
    from ..datasets.augment import random_affine

    return random_affine(x, shift=0.09, zoom=0.1, rotation=0.1, generator=generator)


def run_cd(config: CDConfig, options: RunOptions, *, fabric: Any = None, on_log: Any = None) -> CDState:
    """Train from `config` into `options.out`: checkpoint, metrics.csv, samples.png; resumable, exactly.

    Args:
        fabric: from `make_fabric`; None is one CPU process.
        on_log: called with (step, metrics) at every logged step.
    """
    fabric = make_fabric() if fabric is None else fabric
    torch.manual_seed(config.seed)
    data = datasets.load(config.data, split="train")
    event_shape, levels = data.event_shape, data.levels
    generator = generator_of(fabric, config.seed)
    energy = build_energy(config, event_shape)
    optimizer = torch.optim.Adam(energy.parameters(), lr=config.learning_rate, betas=(0.0, 0.999))
    ema = ema_of(energy, config.ema).to(fabric.device)
    wrapped, optimizer = fabric.setup(energy, optimizer)
    fresh = uniform_starts(config, event_shape, generator)
    state = CDState(
        energy=wrapped,
        optimizer=optimizer,
        ema=ema,
        generator=generator,
        batches=BatchStream.of(fabric, data.x, batch_size=config.batch_size, seed=config.seed),
        buffer=ReplayBuffer(fresh(share(config.buffer_size, "buffer_size")), restart_prob=config.restart_prob)
        if config.negatives == "buffer"
        else None,
    )
    resume(fabric, state, recipe="cd", config=config, options=options)
    steps = train_cd(
        fabric,
        state,
        kernel=kernel_of(config),
        mcmc_steps=config.mcmc_steps,
        fresh=fresh,
        negatives=config.negatives,
        data_noise=config.data_noise,
        augment=jitter if config.augment else None,
        prepare=None if levels is None else lambda x, g: datasets.dequantise(x, levels=levels, generator=g),
        l2=config.energy_l2,
        penalty=config.gradient_penalty,
        learning_rate=lambda step: learning_rate_at(step, peak=config.learning_rate, warm_up=config.warm_up, steps=config.steps),
    )
    run(fabric, state, steps, recipe="cd", config=config, total=config.steps, options=options, on_log=on_log)
    if fabric.global_rank == 0 and len(event_shape) == 3:
        g = torch.Generator(fabric.device).manual_seed(config.seed)  # its own: looking must not change the run
        write_png(
            options.out / "samples.png", fresh_samples(cast(Energy, ema.module), config, event_shape, 60, generator=g), scale=4
        )
    return state


def load_cd(path: Path) -> tuple[Energy, CDConfig, tuple[int, ...]]:
    """The averaged energy of a checkpoint, its configuration and its event shape."""
    from .state import read_checkpoint

    payload = read_checkpoint(path, recipe="cd")
    config = CDConfig(**payload["config"])
    event_shape = datasets.load(config.data, split="test", limit=1).event_shape
    energy = build_energy(config, event_shape)
    ema = ema_of(energy, config.ema)
    ema.load_state_dict(payload["state"]["ema"])
    return cast(Energy, ema.module), config, event_shape
