"""What is in any recipe's checkpoint: a model that draws samples and scores points, for `ebmlearn sample`, `evaluate` and `export`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .state import CheckpointError, ema_of, read_checkpoint

Score = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Trained:
    """A model out of a checkpoint, in the data's own units (images in [0, 1]).

    Args:
        recipe, config, step: what was trained, how, and how far.
        model: the averaged networks, as a recipe's loader returns them.
        draw: (n, generator on the model's device) -> n samples from fresh noise, on that device.
        scores: name -> function of points, higher = more in-distribution.
        stored: name -> further sets of images in the checkpoint, e.g. the replay buffer.
        sessions: who trained it: commands, devices, seconds.
    """

    recipe: str
    config: Any
    step: int
    model: Any
    draw: Callable[[int, torch.Generator], Tensor]
    scores: Mapping[str, Score] = field(default_factory=dict)
    stored: Mapping[str, Tensor] = field(default_factory=dict)
    sessions: tuple[dict[str, Any], ...] = ()

    @property
    def total(self) -> int:
        """The updates that the whole run has."""
        return int(self.config.steps + getattr(self.config, "pretrain_steps", 0))


def _score(energy: nn.Module, device: torch.device, prepare: Callable[[Tensor], Tensor] = lambda x: x) -> Score:
    energy = energy.to(device).eval().requires_grad_(False)

    @torch.no_grad()
    def score(x: Tensor) -> Tensor:
        return torch.cat([-energy(prepare(b.to(device))).float().cpu() for b in x.split(500)])

    return score


def _cd(path: Path, device: torch.device, saved: Mapping[str, Any]) -> dict[str, Any]:
    from .cd import fresh_samples, load_cd

    energy, config, event_shape = load_cd(path)
    energy.to(device)
    stored = {"buffer": saved["buffer"]["x"]} if "buffer" in saved and len(event_shape) == 3 else {}
    return {
        "config": config,
        "model": energy,
        "draw": lambda n, g: fresh_samples(energy, config, event_shape, n, generator=g),
        "scores": {"energy": _score(energy, device)},
        "stored": stored,
    }


def _clel(path: Path, device: torch.device, saved: Mapping[str, Any]) -> dict[str, Any]:
    from .clel import load_clel

    model = load_clel(path).to(device)
    small = model.image_shape[-1] < 16
    rounds, steps = (5, 60) if small else (10, model.config.mcmc_steps)
    weights = (0.0,) if model.encoder is None else (0.0, 0.01, 0.1, 1.0)
    return {
        "config": model.config,
        "model": model,
        "draw": lambda n, g: model.sample(n, rounds=rounds, steps=steps, generator=g),
        "scores": {f"w{w:g}": lambda x, w=w: model.ood_score(x, weight=w, batch=500) for w in weights},
        "stored": {"buffer": saved["buffer"]["x"]},
    }


def _rbm(path: Path, device: torch.device, saved: Mapping[str, Any]) -> dict[str, Any]:
    from .rbm import load_rbm
    from .rbm_weights import RBMModel

    rbm, scale, config = load_rbm(path)
    model = RBMModel(rbm, scale, config, tuple(saved["shape"].tolist())).to(device)
    return {
        "config": config,
        "model": model,
        "draw": lambda n, g: model.sample(n, generator=g),
        "scores": {"energy": _score(model, device)},
    }


def _gcd(path: Path, device: torch.device, saved: Mapping[str, Any]) -> dict[str, Any]:
    from .game import GcdConfig, build_backward, build_energy, build_sampler
    from .gcd_weights import GcdModel, sampled

    config = GcdConfig(**read_checkpoint(path, recipe="gcd")["config"])
    event_shape = event_shape_of(config.data)
    model = GcdModel(config, event_shape)
    model.sampler, model.energy = build_sampler(config, event_shape), build_energy(config, event_shape)
    model.backward = build_backward(config, model.sampler)
    for name in ("sampler", "energy", "backward"):
        average = ema_of(getattr(model, name), 0.0)
        average.load_state_dict(saved[f"ema_{name}"])
        setattr(model, name, average.module)
    model.to(device).eval().requires_grad_(False)
    image = len(event_shape) == 3
    return {
        "config": config,
        "model": model,
        "draw": lambda n, g: sampled(model, n, generator=g),
        "scores": {"energy": _score(model.energy, device, (lambda x: 2 * x - 1) if image else (lambda x: x))},
    }


def _network(path: Path, device: torch.device, saved: Mapping[str, Any]) -> dict[str, Any]:
    """MALA on an energy at temperature 1, from a Gaussian twice as wide as the data."""
    from .. import datasets
    from ..energies.base import Energy
    from ..energies.neural import MLPEnergy
    from ..samplers import MALA, sample
    from .nce import NCEConfig, NormalisedEnergy
    from .score import ScoreConfig

    payload = read_checkpoint(path)
    score = payload["recipe"] == "score"
    config: ScoreConfig | NCEConfig = (ScoreConfig if score else NCEConfig)(**payload["config"])
    x = datasets.load(config.data, split="train").x
    network = MLPEnergy(tuple(x.shape[1:]), hidden_features=config.hidden_features, confinement=config.confinement)
    energy: Energy = network if score else NormalisedEnergy(network)
    average = ema_of(energy, config.ema)
    average.load_state_dict(saved["ema"])
    average.to(device)
    mean, spread = x.mean(0).to(device), x.std(0).to(device)
    kernel = MALA(step_size=0.01 * float(spread.square().mean()))

    def draw(n: int, g: torch.Generator) -> Tensor:
        starts = mean + 2 * spread * torch.randn(n, *x.shape[1:], generator=g, device=device)
        return sample(average.module, kernel, starts, 2000, generator=g)  # type: ignore[arg-type]

    return {"config": config, "model": average.module, "draw": draw, "scores": {"energy": _score(average.module, device)}}


LOADERS = {"cd": _cd, "clel": _clel, "rbm": _rbm, "gcd": _gcd, "score": _network, "nce": _network}


def event_shape_of(data: str) -> tuple[int, ...]:
    """The shape of one point of a data set."""
    from .. import datasets

    return datasets.load(data, split="test", limit=10).event_shape


def load_trained(path: Path, *, device: torch.device | None = None) -> Trained:
    """The averaged model of a checkpoint of any recipe.

    Raises:
        CheckpointError: no checkpoint there, a damaged one, or one of a recipe without a sampler.
    """
    path, place = Path(path), torch.device("cpu") if device is None else device
    payload = read_checkpoint(path)
    recipe = payload["recipe"]
    if recipe not in LOADERS:
        raise CheckpointError(f"{path} is a checkpoint of {recipe!r}; samples are drawn from {', '.join(LOADERS)}")
    parts = LOADERS[recipe](path, place, payload["state"])
    return Trained(recipe=recipe, step=int(payload["state"]["step"]), sessions=tuple(payload.get("sessions", ())), **parts)


def samples_from_checkpoint(path: Path, n: int, *, seed: int = 0) -> Tensor:
    """`n` samples of the model in a checkpoint, from fresh noise, on the CPU: `[n, *event]`.

    Raises:
        CheckpointError: as `load_trained`.
    """
    return load_trained(path).draw(n, torch.Generator().manual_seed(seed)).detach()
