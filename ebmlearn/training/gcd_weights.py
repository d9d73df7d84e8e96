"""Shipped models of GCD: the players of a run in one folder, with its configuration and a model card."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from ..energies.base import Energy
from ..samplers.diffusion import Backward, DiffusionSampler
from .game import LEVELS, GcdConfig, build_backward, build_energy, build_sampler
from .state import plain
from .weights import read_tensors, slim, write_card, write_tensors

PLAYERS = ("before", "sampler", "energy", "backward")


class GcdModel(nn.Module):
    """The players of a run: `sampler`, `energy`, and where shipped `before` (the pretrained sampler) and `backward`; `config`, `event_shape`."""

    sampler: DiffusionSampler
    energy: Energy
    before: DiffusionSampler
    backward: Backward

    def __init__(self, config: GcdConfig, event_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.config = config
        self.event_shape = event_shape

    def forward(self, x: Tensor) -> Tensor:
        """E(x)/tau: `[*batch, *event] -> [*batch]`."""
        return self.energy(x) / self.config.temperature


def export_gcd(
    folder: Path,
    weights: Mapping[str, Path | nn.Module],
    config: GcdConfig,
    event_shape: tuple[int, ...],
    card: Mapping[str, object],
) -> None:
    """Write the players' weights into `folder` as `<player>.safetensors`, in parts where they are large, and the card with their hashes.

    Args:
        weights: player -> a safetensors file, kept as it is, or a module, written slim; players are before, sampler, energy, backward.
        card: what else the card says: data, command, results, licence.
    """
    unknown = sorted(set(weights) - set(PLAYERS))
    if unknown:
        raise ValueError(f"expected players among {PLAYERS}; got {unknown}")
    from safetensors.torch import load_file

    sums: dict[str, str] = {}
    for name, given in weights.items():
        tensors = slim(given.state_dict()) if isinstance(given, nn.Module) else load_file(given)
        sums |= write_tensors(Path(folder), tensors, name=name)
    payload = {"kind": "gcd", "config": plain(config), "event_shape": list(event_shape), "sha256": sums, **card}
    write_card(Path(folder), payload)


def import_gcd(folder: Path) -> GcdModel:
    """Read what `export_gcd` wrote; every file's hash is verified."""
    folder = Path(folder)
    card = json.loads((folder / "card.json").read_text())
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in card["config"].items()}
    config, event_shape = GcdConfig(**values), tuple(card["event_shape"])  # type: ignore[arg-type]
    model = GcdModel(config, event_shape)
    for name in dict.fromkeys(file.removesuffix(".safetensors").split("-")[0] for file in card["sha256"]):
        found = read_tensors(folder, card["sha256"], name=name)
        tensors = {k: v.float() if v.is_floating_point() else v for k, v in found.items()}
        module: nn.Module
        if name == "energy":
            module = build_energy(config, event_shape)
        elif name == "backward":
            module = build_backward(config, build_sampler(config, event_shape))
        else:
            module = build_sampler(config, event_shape)
            exact = module.state_dict()  # a table in half precision is not good enough: it is part of the configuration
            tensors |= {k: exact[k] for k in LEVELS if k != "log_sigma"}
            if tensors["log_sigma"].shape != exact["log_sigma"].shape:
                tensors["log_sigma"] = exact["log_sigma"]
        module.load_state_dict(tensors)
        setattr(model, name, module)
    return model.eval().requires_grad_(False)


def sampled(model: GcdModel, n: int, *, generator: torch.Generator | None = None) -> Tensor:
    """`n` samples of a shipped model, images in [0, 1]."""
    x = model.sampler.sample(n, generator=generator)
    return (x.clamp(-1, 1) + 1) / 2 if len(model.event_shape) == 3 else x
