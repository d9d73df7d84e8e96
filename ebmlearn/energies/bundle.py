"""Several small MLP energies in one file of weights, with one model card: what a lesson ships instead of a long training."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from .neural import MLPEnergy


def _settings(name: str, energy: MLPEnergy) -> dict[str, Any]:
    layers = list(energy.net.layers)
    if any(not isinstance(layer, nn.SiLU) for layer in layers[1::2]):
        raise ValueError(
            f"expected MLP energies with SiLU between the layers; {name!r} has {[type(layer).__name__ for layer in layers]}"
        )
    widths = [layer.out_features for layer in layers[::2] if isinstance(layer, nn.Linear)][:-1]
    return {"event_shape": list(energy.event_shape), "hidden_features": widths, "confinement": energy.confinement}


def export_energies(energies: Mapping[str, MLPEnergy], folder: Path, *, card: Mapping[str, Any], text: str = "") -> None:
    """Write `weights.safetensors`, `card.json` and `card.md` into `folder`.

    Args:
        energies: name -> energy; names without dots.
        folder: `.../checkpoints/<name>`.
        card: what the card says besides kind, config and hash: name, command, data, seed, licence, results ...
        text: Markdown at the end of `card.md`, e.g. a table.
    """
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    weights = {f"{name}.{k}": v.detach().cpu().contiguous() for name, e in energies.items() for k, v in e.state_dict().items()}
    save_file(weights, folder / "weights.safetensors")
    digest = hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest()
    config = {name: _settings(name, energy) for name, energy in energies.items()}
    whole = {"kind": "mlp-energies", **card, "config": config, "sha256": {"weights.safetensors": digest}}
    (folder / "card.json").write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n")
    lines = [
        f"# {card['name']}",
        "",
        *(f"- {k}: {v}" for k, v in card.items() if k != "name"),
        f"- energies: {', '.join(config)}",
        "",
    ]
    (folder / "card.md").write_text("\n".join([*lines, text]).rstrip() + "\n")


def import_energies(folder: Path) -> nn.ModuleDict:
    """The energies of a folder that `export_energies` wrote, name -> `MLPEnergy`. `load_pretrained(name)` verifies the hash first."""
    from safetensors.torch import load_file

    config = json.loads((Path(folder) / "card.json").read_text())["config"]
    weights = load_file(Path(folder) / "weights.safetensors")
    out = nn.ModuleDict()
    for name, settings in config.items():
        energy = MLPEnergy(
            tuple(settings["event_shape"]), hidden_features=settings["hidden_features"], confinement=settings["confinement"]
        )
        energy.load_state_dict({k.removeprefix(f"{name}."): v for k, v in weights.items() if k.startswith(f"{name}.")})
        out[name] = energy
    return out
