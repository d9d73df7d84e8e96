"""Weights of the recipe `planning`: one folder with safetensors, the configuration in its card, and the model back from it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from .planning import PlanningConfig, build_model
from .state import plain
from .weights import read_tensors, write_card, write_tensors


def export_planning(model: nn.Module, config: PlanningConfig, folder: Path, *, card: Mapping[str, Any]) -> None:
    """Write the weights in float32 (thresholds on energies must not move), `card.json` and `card.md`.

    Args:
        model: of `build_model(config)`, trained.
        folder: `.../checkpoints/<name>`.
        card: what the card says besides kind, config and hash: name, about, command, data, results, licence, limits ...
    """
    tensors = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    sums = write_tensors(folder, tensors)
    write_card(folder, {"kind": "planning", **card, "config": plain(config), "sha256": sums})


def import_planning(folder: Path) -> nn.Module:
    """The model of a folder that `export_planning` wrote, every hash verified."""
    card = json.loads((Path(folder) / "card.json").read_text())
    fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in card["config"].items()}
    model = build_model(PlanningConfig(**fields))
    model.load_state_dict(read_tensors(folder, card["sha256"]))
    return model
