"""A trained Gaussian-Bernoulli RBM as a shipped model: slim weights, units and shape in one folder with its card."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from ..energies.rbm import GaussianBernoulliRBM
from .rbm import RBMConfig, samples_from_noise
from .rbm_data import Standardise
from .state import plain
from .weights import read_tensors, slim, write_card, write_tensors


class RBMModel(nn.Module):
    """A machine with the units and the shape of its data: `rbm`, `scale`, `config`, `event_shape`."""

    def __init__(self, rbm: GaussianBernoulliRBM, scale: Standardise, config: RBMConfig, event_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.rbm, self.scale, self.config, self.event_shape = rbm, scale, config, tuple(event_shape)

    def forward(self, x: Tensor) -> Tensor:
        """The free energy F(x) of points in the data's own units: `[*batch, *event] -> [*batch]`."""
        flat = x.flatten(x.ndim - len(self.event_shape))
        return self.rbm.marginalise()(self.scale(flat))

    @torch.no_grad()
    def sample(self, n: int, *, sweeps: int | None = None, generator: torch.Generator | None = None) -> Tensor:
        """`n` chains from noise by the training's own kernel, in the data's own units: `[n, *event]`; images are clamped to [0, 1]."""
        g = torch.Generator(self.scale.mean.device).manual_seed(0) if generator is None else generator
        x, _ = samples_from_noise(self.rbm, self.config, n, sweeps or self.config.sweeps, generator=g)
        x = self.scale.back(x).reshape(n, *self.event_shape)
        return x.clamp(0, 1) if len(self.event_shape) == 3 else x


def export_rbm(model: RBMModel, folder: Path, *, card: Mapping[str, object]) -> None:
    """W in bfloat16, everything else in float32, and the card with the hashes."""
    sums = write_tensors(folder, slim(model.state_dict()))
    entries = {"kind": "grbm", "config": plain(model.config), "event_shape": list(model.event_shape), "sha256": sums}
    write_card(folder, {**entries, **card})


def import_rbm(folder: Path) -> RBMModel:
    """Read what `export_rbm` wrote; every file's hash is verified."""
    card = json.loads((Path(folder) / "card.json").read_text())
    tensors = {k: v.float() for k, v in read_tensors(Path(folder), card["sha256"]).items()}
    n_visible, n_hidden = tensors["rbm.W"].shape
    config = RBMConfig(**card["config"])
    rbm = GaussianBernoulliRBM(n_visible, n_hidden, learn_variance=config.learn_variance)
    model = RBMModel(rbm, Standardise(torch.zeros(n_visible), torch.ones(n_visible)), config, tuple(card["event_shape"]))
    model.load_state_dict(tensors)
    return model
