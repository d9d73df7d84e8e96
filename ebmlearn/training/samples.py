"""Samples from any recipe's checkpoint: what `ebmlearn sample` draws."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from .state import CheckpointError, read_checkpoint

Draw = Callable[[Path, int, torch.Generator], Tensor]


def _cd(path: Path, n: int, generator: torch.Generator) -> Tensor:
    from .cd import fresh_samples, load_cd

    energy, config, event_shape = load_cd(path)
    return fresh_samples(energy, config, event_shape, n, generator=generator)


def _clel(path: Path, n: int, generator: torch.Generator) -> Tensor:
    from .clel import load_clel

    return load_clel(path).sample(n, generator=generator)


def _rbm(path: Path, n: int, generator: torch.Generator) -> Tensor:
    from .rbm import draw_from

    return draw_from(path, n, generator=generator)


def _gcd(path: Path, n: int, generator: torch.Generator) -> Tensor:
    from .. import datasets
    from .game import GcdConfig, build_sampler
    from .state import ema_of

    payload = read_checkpoint(path, recipe="gcd")
    config = GcdConfig(**payload["config"])
    event_shape = datasets.load(config.data, split="test", limit=10).event_shape
    average = ema_of(build_sampler(config, event_shape), 0.0)
    average.load_state_dict(payload["state"]["ema_sampler"])
    with torch.no_grad():
        x = average.module.sample(n, generator=generator)
    return (x + 1) / 2 if len(event_shape) == 3 else x


def _network(path: Path, n: int, generator: torch.Generator) -> Tensor:
    """MALA on an energy at temperature 1, from a Gaussian twice as wide as the data."""
    from .. import datasets
    from ..energies.base import Energy
    from ..energies.neural import MLPEnergy
    from ..samplers import MALA, sample
    from .nce import NCEConfig, NormalisedEnergy
    from .score import ScoreConfig
    from .state import ema_of

    payload = read_checkpoint(path)
    score = payload["recipe"] == "score"
    config: ScoreConfig | NCEConfig = (ScoreConfig if score else NCEConfig)(**payload["config"])
    x = datasets.load(config.data, split="train").x
    network = MLPEnergy(tuple(x.shape[1:]), hidden_features=config.hidden_features, confinement=config.confinement)
    energy: Energy = network if score else NormalisedEnergy(network)
    average = ema_of(energy, config.ema)
    average.load_state_dict(payload["state"]["ema"])
    spread = x.std(0)
    starts = x.mean(0) + 2 * spread * torch.randn(n, *x.shape[1:], generator=generator)
    return sample(average.module, MALA(step_size=0.01 * float(spread.square().mean())), starts, 2000, generator=generator)  # type: ignore[arg-type]


DRAWS: dict[str, Draw] = {"cd": _cd, "clel": _clel, "rbm": _rbm, "gcd": _gcd, "score": _network, "nce": _network}


def samples_from_checkpoint(path: Path, n: int, *, seed: int = 0) -> Tensor:
    """`n` samples of the model in a checkpoint, from fresh noise, on the CPU: `[n, *event]`.

    Raises:
        CheckpointError: no checkpoint there, a damaged one, or one of a recipe without a sampler.
    """
    recipe = read_checkpoint(path)["recipe"]
    if recipe not in DRAWS:
        raise CheckpointError(f"{path} is a checkpoint of {recipe!r}; samples are drawn from {', '.join(DRAWS)}")
    return DRAWS[recipe](Path(path), n, torch.Generator().manual_seed(seed)).detach()
