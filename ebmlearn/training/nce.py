"""Noise-contrastive estimation: train an energy and its log Z by telling data from noise of known density."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .. import datasets
from ..energies.base import Energy
from ..energies.gaussian import Gaussian
from ..energies.neural import MLPEnergy
from ..objectives import noise_contrastive
from .state import BatchStream, Metrics, RunOptions, TrainState, ema_of, generator_of, gradient_norm, make_fabric, resume, run


@dataclass(frozen=True, kw_only=True)
class NCEConfig:
    """Hyperparameters of noise-contrastive estimation with Gaussian noise fitted to the data.

    Args:
        data: a name from `ebmlearn data`, or a path to own data; few dimensions, since Gaussian noise soon is too easy.
        seed: of the parameters, the batch order and the noise.
        steps: parameter updates.
        batch_size: data points an update.
        noise_ratio: nu, noise points for each data point.
        noise_scale: standard deviation of the noise over that of the data; above 1 so that noise covers the tails.
        hidden_features: widths of the network.
        confinement: quadratic term of the energy.
        learning_rate: Adam's, constant.
        ema: decay of the parameters' moving average.
    """

    data: str = "8gaussians"
    seed: int = 0
    steps: int = 2000
    batch_size: int = 256
    noise_ratio: int = 4
    noise_scale: float = 1.2
    hidden_features: tuple[int, ...] = (128, 128, 128)
    confinement: float = 0.05
    learning_rate: float = 1e-3
    ema: float = 0.998


def nce_preset(data: str) -> NCEConfig:
    """The settings to start from."""
    return NCEConfig(data=data)


class NormalisedEnergy(Energy):
    """E(x) + log Z with a learned log Z: exp(-this) is an estimate of the density itself."""

    def __init__(self, energy: Energy) -> None:
        super().__init__()
        self.energy = energy
        self.log_z = nn.Parameter(torch.zeros(()))
        self.event_ndim = energy.event_ndim

    def forward(self, x: Tensor) -> Tensor:
        return self.energy(x) + self.log_z


@dataclass
class NCEState(TrainState):
    """Everything the future of a run depends on; `energy` is a `NormalisedEnergy`, wrapped once."""

    energy: nn.Module
    optimizer: Any
    ema: nn.Module
    generator: torch.Generator
    batches: BatchStream


def fit_noise(x: Tensor, *, scale: float) -> Gaussian:
    """A Gaussian with the data's mean and `scale`² times its covariance."""
    flat = x.flatten(1).double()
    cov = torch.cov(flat.T).reshape(flat.shape[1], flat.shape[1]) * scale**2
    return Gaussian(flat.mean(0).to(x.dtype), cov.to(x.dtype))


def train_nce(fabric: Any, state: NCEState, *, noise: Gaussian, ratio: int, energy: Energy) -> Iterator[Metrics]:
    """Train for ever, one update a `next`; one wrapped forward on data and noise together.

    Args:
        noise: has exact `sample` and `log_partition`.
        ratio: nu, noise points for each data point.
        energy: the bare energy inside `state.energy`, for the moving average.

    Yields:
        loss, log_z (the learned one), accuracy of telling data from noise, grad_norm.

    References:
        Noise-contrastive estimation: a new estimation principle for unnormalized statistical models (Gutmann, Hyvärinen, 2010).
    """
    log_norm = noise.log_partition()
    while True:
        (x,) = state.batches.next()
        n = noise.sample(ratio * len(x), generator=state.generator).reshape(-1, *x.shape[1:])
        both = torch.cat([x, n])
        e = state.energy(both)
        log_q = -noise(both.flatten(1)) - log_norm
        loss = noise_contrastive(e[: len(x)], e[len(x) :], log_q[: len(x)], log_q[len(x) :])
        state.optimizer.zero_grad()
        fabric.backward(loss)
        norm = gradient_norm(state.energy)
        state.optimizer.step()
        state.ema.update_parameters(energy)  # type: ignore[operator]
        state.step += 1
        logit = (-e - log_q - torch.log(torch.tensor(float(ratio)))).detach()
        right = torch.cat([logit[: len(x)] > 0, logit[len(x) :] < 0]).float().mean()
        yield {
            "loss": loss.detach(),
            "log_z": energy.log_z.detach().clone(),
            "accuracy": right,
            "grad_norm": norm,
        }


def run_nce(config: NCEConfig, options: RunOptions, *, fabric: Any = None, on_log: Any = None) -> NCEState:
    """Train from `config` into `options.out`: checkpoint and metrics.csv; resumable, exactly."""
    fabric = make_fabric() if fabric is None else fabric
    if config.noise_ratio < 1 or config.noise_scale <= 0:
        raise ValueError(f"expected noise_ratio >= 1 and noise_scale > 0; got {config.noise_ratio} and {config.noise_scale}")
    torch.manual_seed(config.seed)
    data = datasets.load(config.data, split="train")
    noise = fit_noise(data.x, scale=config.noise_scale).to(fabric.device)
    energy = NormalisedEnergy(MLPEnergy(data.event_shape, hidden_features=config.hidden_features, confinement=config.confinement))
    ema = ema_of(energy, config.ema).to(fabric.device)
    optimizer = torch.optim.Adam(energy.parameters(), lr=config.learning_rate)
    wrapped, optimizer = fabric.setup(energy, optimizer)
    state = NCEState(
        energy=wrapped,
        optimizer=optimizer,
        ema=ema,
        generator=generator_of(fabric, config.seed),
        batches=BatchStream.of(fabric, data.x, batch_size=config.batch_size, seed=config.seed),
    )
    resume(fabric, state, recipe="nce", config=config, options=options)
    steps = train_nce(fabric, state, noise=noise, ratio=config.noise_ratio, energy=energy)
    run(fabric, state, steps, recipe="nce", config=config, total=config.steps, options=options, on_log=on_log)
    return state
