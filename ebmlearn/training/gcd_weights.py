"""Shipped models of GCD: the players of a run in one folder, with its configuration and a model card."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from ..energies.base import Energy
from ..samplers.diffusion import Backward, DiffusionSampler
from .game import LEVELS, GcdConfig, build_backward, build_energy, build_sampler
from .state import plain

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
    folder: Path, weights: Mapping[str, Path], config: GcdConfig, event_shape: tuple[int, ...], card: Mapping[str, object]
) -> None:
    """Copy safetensors files into `folder` as `<player>.safetensors` and write `card.json` with their hashes.

    Args:
        weights: player -> file; players are before, sampler, energy, backward.
        card: what else the card says: data, command, results, licence.
    """
    unknown = sorted(set(weights) - set(PLAYERS))
    if unknown:
        raise ValueError(f"expected players among {PLAYERS}; got {unknown}")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    sums = {}
    for name, path in weights.items():
        body = Path(path).read_bytes()
        (folder / f"{name}.safetensors").write_bytes(body)
        sums[f"{name}.safetensors"] = hashlib.sha256(body).hexdigest()
    payload = {"kind": "gcd", "config": plain(config), "event_shape": list(event_shape), "sha256": sums, **card}
    (folder / "card.json").write_text(json.dumps(payload, indent=1) + "\n")


def import_gcd(folder: Path) -> GcdModel:
    """Read what `export_gcd` wrote; the caller has verified the hashes."""
    from safetensors.torch import load_file

    folder = Path(folder)
    card = json.loads((folder / "card.json").read_text())
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in card["config"].items()}
    config, event_shape = GcdConfig(**values), tuple(card["event_shape"])  # type: ignore[arg-type]
    model = GcdModel(config, event_shape)
    for file in card["sha256"]:
        name = Path(file).stem
        tensors = {k: v.float() if v.is_floating_point() else v for k, v in load_file(folder / file).items()}
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
