"""What hallucinative topological memory is trained from and into: settings, random walks, networks, thresholds, shipped weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..planning.htm import HTM, Hallucinator, PairEnergy, PictureContext, PointContext, SegmentEnergy, StateEnergy
from ..planning.pictures import picture, random_decoys
from ..planning.worlds import PointRobot, World, random_walls, wall_world
from .state import plain

RADIUS = 0.1  # the longest step of the robot, and the longest edge
NEGATIVES = ("shuffled", "gaussian")
PAIRS = ("whole", "local")
CONTEXTS = ("door", "door-picture")


@dataclass(frozen=True, kw_only=True)
class HTMConfig:
    """Hyperparameters of hallucinative topological memory; the defaults are for a context of two numbers.

    Args:
        data: "door" (the context is the middle of the door) or "door-picture" (the context is a picture).
        seed: of the parameters, the worlds, the walks and the batches.
        steps: parameter updates; the three networks are trained side by side.
        worlds, walks, walk_steps: contexts to learn from, random walks in each, steps a walk.
        batch_worlds, batch_points: contexts a batch and pairs (and states) from each.
        learning_rate: Adam's, annealed to zero by a cosine.
        scales: slopes of `PointContext`.
        picture, width, layers: side of the picture, channels and convolutions of `PictureContext`.
        pair: "whole" (`PairEnergy`, an MLP of the whole segment) or "local" (`SegmentEnergy`, a sum of local energies).
        points: of the segment that the pair energy looks at.
        negatives: "shuffled": s' = s + the displacement of another transition, of the same law of lengths as the data;
            "gaussian": s' = s + 0.13 xi.
        swap: exchange s and s' of every pair with probability 1/2: the motion is reversible.
        max_steps: a positive pair is 1 to max_steps steps apart.
        margin: by which moves must miss walls when planning; training does not know it.
        state_quantile, pair_quantile: quantiles of the energies of training states and transitions above which a node
            or an edge is dropped.
    """

    data: str = "door"
    seed: int = 0
    steps: int = 2500
    worlds: int = 150
    walks: int = 40
    walk_steps: int = 20
    batch_worlds: int = 1024
    batch_points: int = 1
    learning_rate: float = 3e-3
    scales: tuple[float, ...] = (4.0, 16.0)
    picture: int = 32
    width: int = 8
    layers: int = 2
    pair: str = "whole"
    points: int = 8
    negatives: str = "shuffled"
    swap: bool = True
    max_steps: int = 1
    margin: float = 0.0
    state_quantile: float = 0.98
    pair_quantile: float = 0.99

    def __post_init__(self) -> None:
        if self.data not in CONTEXTS:
            raise ValueError(f"expected data to be one of {CONTEXTS}; got {self.data!r}")
        if self.negatives not in NEGATIVES:
            raise ValueError(f"expected negatives to be one of {NEGATIVES}; got {self.negatives!r}")
        if self.pair not in PAIRS:
            raise ValueError(f"expected pair to be one of {PAIRS}; got {self.pair!r}")
        if not 1 <= self.max_steps <= self.walk_steps:
            raise ValueError(f"expected 1 <= max_steps <= walk_steps = {self.walk_steps}; got {self.max_steps}")


def htm_preset(data: str) -> HTMConfig:
    """The settings to start from; a picture is read once for many pairs."""
    if data == "door-picture":
        return HTMConfig(data=data, picture=64, pair="local", batch_worlds=8, batch_points=96, margin=0.01)
    return HTMConfig(data=data)


class Walks(NamedTuple):
    """Random walks in many worlds, without labels or actions: contexts `[K, *context]`, visited states `[K, n, 2]`, and pairs (s, s') that differ, `[K, m, 2, 2]`."""

    contexts: Tensor
    states: Tensor
    pairs: Tensor


def pairs_of(paths: Tensor, *, max_steps: int, generator: torch.Generator) -> Tensor:
    """Pairs of states 1 to max_steps steps apart that differ: walks `[K, n, T + 1, 2]` -> `[K, m, 2, 2]`, m the least of all worlds."""
    k, n, t = paths.shape[:3]
    apart = torch.randint(1, max_steps + 1, (k, n, t - 1), generator=generator)
    end = (torch.arange(t - 1) + apart).clamp(max=t - 1)
    pairs = torch.stack([paths[:, :, :-1], paths.gather(2, end.unsqueeze(-1).expand(-1, -1, -1, 2))], -2).flatten(1, 2)
    moved = (pairs[:, :, 0] - pairs[:, :, 1]).norm(dim=-1) > 1e-6
    m = int(moved.sum(1).min())
    if m == 0:
        raise ValueError("expected at least one move in every world; walk longer, or with longer steps")
    order = (~moved).double().add(torch.rand(moved.shape, generator=generator) / 2).argsort(1)[:, :m]  # moved ones first
    return pairs.gather(1, order[..., None, None].expand(-1, -1, 2, 2))


def make_context(config: HTMConfig, *, summary: bool = False) -> nn.Module:
    """The features that a configuration asks for, each network its own; a generator needs the whole picture more than the map."""
    if config.data == "door":
        return PointContext(scales=config.scales)
    if summary:
        return PictureContext(size=config.picture, width=2, layers=1, n_summary=16)
    return PictureContext(size=config.picture, width=config.width, layers=config.layers)


def build_htm(config: HTMConfig) -> HTM:
    """The untrained networks; thresholds are infinite until `calibrate` has set them."""
    kind = PairEnergy if config.pair == "whole" else SegmentEnergy
    return HTM(
        Hallucinator(make_context(config, summary=True)),
        StateEnergy(make_context(config)),
        kind(make_context(config), points=config.points),
        radius=RADIUS,
        margin=config.margin,
    )


def draw_worlds(config: HTMConfig, n: int, *, generator: torch.Generator) -> tuple[World, Tensor]:
    """n worlds with a wall and a door, and their contexts `[n, *context]`; in pictures with a bar that is no wall."""
    door = random_walls(n, generator=generator)
    world = wall_world(door)
    if config.data == "door":
        return world, door
    return world, picture(world, size=config.picture, decoys=random_decoys(door, generator=generator))


def collect(config: HTMConfig, *, generator: torch.Generator) -> Walks:
    """Random walks of the point robot in random worlds."""
    world, contexts = draw_worlds(config, config.worlds, generator=generator)
    start = world.sample_free(config.walks, generator=generator)
    paths = PointRobot(max_step=RADIUS).walk(world, start, config.walk_steps, generator=generator).permute(1, 2, 0, 3)
    return Walks(contexts, paths.flatten(1, 2), pairs_of(paths, max_steps=config.max_steps, generator=generator))


@torch.no_grad()
def calibrate(model: HTM, walks: Walks, *, state_quantile: float, pair_quantile: float, points: int = 64) -> None:
    """Set the thresholds at quantiles of the energies of training states and transitions, `points` from each world."""
    s, pair = walks.states[:, :: max(1, walks.states.shape[1] // points)], walks.pairs[:, :points]
    model.state_threshold.copy_(model.state_energy(s, walks.contexts).quantile(state_quantile))
    model.pair_threshold.copy_(model.pair_energy(pair[:, :, 0], pair[:, :, 1], walks.contexts).quantile(pair_quantile))


def export_htm(model: HTM, config: HTMConfig, folder: Path, *, card: Mapping[str, Any], text: str = "") -> None:
    """Write `weights.safetensors`, `card.json` and `card.md` into `folder`.

    Args:
        model: trained and calibrated.
        card: what the card says besides kind, config and hash: name, command, data, results, licence ...
        text: Markdown at the end of `card.md`.
    """
    from safetensors.torch import save_file

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    save_file({k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}, folder / "weights.safetensors")
    digest = hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest()
    whole = {"kind": "htm", **card, "config": plain(config), "sha256": {"weights.safetensors": digest}}
    (folder / "card.json").write_text(json.dumps(whole, indent=1) + "\n")
    lines = [f"# {card['name']}", "", *(f"- {k}: {v}" for k, v in card.items() if k != "name"), "", text]
    (folder / "card.md").write_text("\n".join(lines).rstrip() + "\n")


def import_htm(folder: Path) -> HTM:
    """Read what `export_htm` wrote; `load_pretrained(name)` verifies the hash first."""
    from safetensors.torch import load_file

    folder = Path(folder)
    config: dict[str, Any] = json.loads((folder / "card.json").read_text())["config"]
    config = {k: tuple(v) if isinstance(v, list) else v for k, v in config.items()}
    model = build_htm(HTMConfig(**config))
    model.load_state_dict(load_file(folder / "weights.safetensors"))
    return model
