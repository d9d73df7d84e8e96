"""Shipped weights: `load_pretrained(name)` verifies the hash, builds the network that the model card describes, and loads it."""

from __future__ import annotations

import hashlib
import importlib
import json
import re
from pathlib import Path
from typing import Any

from torch import nn

from .resources import resource

FOLDER = "data/checkpoints"
# kind of a card -> the network's class, built from the card's config
CLASSES = {
    "conv-classifier": ("ebmlearn.networks.classifier", "ConvClassifier"),
    "norm-energy": ("ebmlearn.energies.neural", "NormEnergy"),
}
# kind of a card -> a function that reads a whole folder, for models that are more than one network
READERS = {
    "image-classifier": ("ebmlearn.training.image_classifier", "import_classifier"),
    "clel": ("ebmlearn.training.clel_model", "import_clel"),
    "grbm": ("ebmlearn.training.rbm_weights", "import_rbm"),
    "gcd": ("ebmlearn.training.gcd_weights", "import_gcd"),
    "htm": ("ebmlearn.training.htm_model", "import_htm"),
    "mlp-energies": ("ebmlearn.energies.bundle", "import_energies"),
    "planning": ("ebmlearn.training.planning_weights", "import_planning"),
}


class WeightsError(ValueError):
    """Shipped weights that are missing, damaged or of an unknown kind."""


def pretrained_names() -> list[str]:
    """The names that `load_pretrained` knows: every checkpoint with a model card."""
    return sorted(p.parent.name for p in resource(FOLDER).glob("*/card.json"))


def read_card(name: str) -> dict[str, Any]:
    """The model card of a checkpoint: kind, config, data, command, results, SHA-256, licence.

    Example:
        >>> read_card("digits-classifier")["licence"]
        'MIT'
    """
    folder = _folder(name)
    card = json.loads((folder / "card.json").read_text())
    missing = [k for k in ("kind", "sha256") if k not in card]
    if missing:
        raise WeightsError(f"{folder / 'card.json'} lacks {missing}")
    return card


def verify(name: str) -> dict[str, Any]:
    """Check the SHA-256 of every file that a checkpoint's card names; return the card.

    Raises:
        WeightsError: a file is missing or differs.
    """
    folder, card = _folder(name), read_card(name)
    for file, expected in card["sha256"].items():
        path = folder / file
        if not path.exists():
            raise WeightsError(f"{path} is missing; the card in that folder names it")
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != expected:
            raise WeightsError(
                f"{path} has SHA-256 {found}; its card says {expected}. It was not loaded; reinstall or fetch it again"
            )
    return card


def load_pretrained(name: str) -> nn.Module:
    """The model `name`, in eval mode, without gradients for its parameters; every file's SHA-256 is checked first.

    Args:
        name: of `pretrained_names()`, or the path of a folder with `card.json` and its weights.

    Raises:
        WeightsError: an unknown name (lists the known), a hash that differs, an unknown kind, weights that do not fit.

    Example:
        >>> import torch
        >>> load_pretrained("digits-classifier")(torch.rand(3, 1, 8, 8)).shape
        torch.Size([3, 10])
    """
    folder, card = _folder(name), verify(name)
    kind = card["kind"]
    if kind in CLASSES and "config" not in card:
        raise WeightsError(f"{folder / 'card.json'} lacks ['config'], from which the network is built")
    if kind in READERS:
        model = _named(READERS[kind])(folder)
    elif kind in CLASSES:
        from safetensors.torch import load_file

        model = _named(CLASSES[kind])(**card["config"])
        try:
            model.load_state_dict(load_file(folder / "weights.safetensors"))
        except RuntimeError as error:
            raise WeightsError(f"the weights in {folder} do not fit its card's config: {error}") from error
    else:
        raise WeightsError(f"{folder / 'card.json'} is of the unknown kind {kind!r}; known: {sorted({*CLASSES, *READERS})}")
    return model.eval().requires_grad_(False)


def command_for(name: str) -> str | None:
    """The command that makes a model named `<recipe>-<data>-<preset>`, e.g. clel-cifar10-base; None for other names.

    Example:
        >>> command_for("clel-cifar10-base").split(" && ")[0]
        'ebmlearn train clel --data cifar10 --preset base --accelerator cuda --out runs/clel-cifar10-base'
    """
    found = re.fullmatch(
        r"(clel|gcd|rbm)-(digits|sprites|mnist|fashion-mnist|cifar10)-(tiny|small|default|base|large|paper)", name
    )
    if found is None:
        return None
    recipe, data, preset = found.groups()
    run = f"runs/{name}"
    return (
        f"ebmlearn train {recipe} --data {data.replace('-', '_')} --preset {preset} --accelerator cuda --out {run} && "
        f"ebmlearn evaluate --from {run} --accelerator cuda && ebmlearn export --from {run} --name {name} --out data/checkpoints/{name}"
    )


def _named(place: tuple[str, str]) -> Any:
    return getattr(importlib.import_module(place[0]), place[1])


def _folder(name: str) -> Path:
    given = Path(name).expanduser()
    if (given / "card.json").is_file():
        return given
    if name not in pretrained_names():
        if how := command_for(name):
            raise WeightsError(f"{name!r} is not shipped with this version. To make it: {how}")
        raise WeightsError(
            f"unknown model {name!r}; known: {', '.join(pretrained_names())}; or a folder with card.json and its weights"
        )
    return resource(f"{FOLDER}/{name}")
