"""What a checkpoint is worth: samples beside held-out data and noise, out-of-distribution detection, a grid of samples; once or as a run goes on.

Reads checkpoints only, so that it may run beside the training, on another device, without touching it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .. import datasets
from ..metrics.divergence import energy_distance, sliced_wasserstein
from ..metrics.images import Features, Moments, class_statistics, extract, frechet_distance, kernel_distance, precision_recall
from ..metrics.ood import detection, standard_sets
from .engine import write_png
from .files import append_row, write_atomic
from .rbm_data import flat_data
from .samples import Trained, load_trained
from .state import LAST

NOISE_SEED, OOD_SEED = 101, 102


def draw(trained: Trained, n: int, *, seed: int, device: torch.device, batch: int = 500) -> Tensor:
    """`n` samples from fresh noise, `batch` at a time, on the CPU."""
    g = torch.Generator(device).manual_seed(seed)
    return torch.cat([trained.draw(min(batch, n - i), g).detach().float().cpu() for i in range(0, n, batch)])


def real(data: str, split: str, *, limit: int | None, seed: int) -> tuple[Tensor, Tensor | None]:
    """Points of a data set as a model sees them (images dequantised), and their classes."""
    try:
        found = datasets.load(data, split=split, limit=limit)  # type: ignore[arg-type]
    except ValueError:
        flat = flat_data(data)  # the mixtures of the restricted Boltzmann machine
        return (flat.train if split == "train" else flat.test)[:limit], None
    if found.levels is None:
        return found.x, found.y
    return datasets.dequantise(found.x, levels=found.levels, generator=torch.Generator().manual_seed(seed)), found.y


class Judge:
    """Compares sets of points with a data set; the real points' features are computed once.

    Args:
        data: the data set's name.
        features: images -> `[N, L]`, for images; None compares points themselves, by energy and sliced Wasserstein distance.
        logits: images -> `[N, n_classes]`; None leaves class entropy and confidence out.
        n: size of every set; the held-out data of this size are the floor.
        limit: training points to compare with; None is all.
    """

    def __init__(
        self,
        data: str,
        *,
        features: Features | None,
        logits: Features | None = None,
        n: int,
        limit: int | None = None,
        seed: int = 0,
    ) -> None:
        self.train, _ = real(data, "train", limit=limit, seed=seed)
        self.test, self.classes = real(data, "test", limit=None, seed=seed + 1)
        self.features, self.logits = features, logits
        self.n = min(n, len(self.train), len(self.test))
        if self.n < 8:
            raise ValueError(f"expected at least 8 points to compare; the data and --n leave {self.n}")
        self.seed = seed
        if features is not None:
            self.moments = Moments()
            parts = [extract(b, features) for b in self.train.split(500)]
            for part in parts:
                self.moments.update(part)
            self.near = torch.cat(parts)[: self.n]  # neighbours and kernels: sets of one size
        self.floor = self.scores(self.test)
        self.noise = self.scores(torch.rand(self.n, *self.train.shape[1:], generator=torch.Generator().manual_seed(NOISE_SEED)))

    def scores(self, x: Tensor) -> dict[str, float]:
        """The first n of a set against the training set."""
        x = x[: self.n]
        if self.features is None:
            a, b = x.flatten(1), self.train[: self.n].flatten(1)
            g = torch.Generator().manual_seed(self.seed)
            return {
                "energy_distance": float(energy_distance(a, b)),
                "sliced_wasserstein": float(sliced_wasserstein(a, b, generator=g)),
            }
        f = extract(x, self.features)
        near = precision_recall(f, self.near, k=3)
        out = {"frechet": frechet_distance(f, self.moments), "kernel": kernel_distance(f, self.near)}
        out |= {"precision": near.precision, "recall": near.recall}
        if self.logits is not None:
            seen = class_statistics(extract(x, self.logits))
            out |= {"class_entropy": seen.entropy, "confidence": seen.confidence}
        return out


def ood(
    trained: Trained, judge: Judge, outside: Mapping[str, Tensor], *, n: int = 2000, seed: int = OOD_SEED
) -> dict[str, float]:
    """AUROC of every score against sets made from the test images and against further data sets, each with its bootstrap error."""
    g = torch.Generator().manual_seed(seed)
    inside = judge.test[:n]
    sets: dict[str, Tensor] = {}
    if inside.ndim == 4 and judge.classes is not None and len(judge.classes[:n].unique()) > 1:
        sets = standard_sets(inside, judge.classes[:n], generator=g)
    sets |= {name: x[:n] for name, x in outside.items()}
    out = {}
    for name, score in trained.scores.items():
        own = score(inside)
        for what, x in sets.items():
            d = detection(own, score(x), resamples=50, generator=g)
            out[f"auroc_{what}_{name}"], out[f"auroc_{what}_{name}_error"] = d.auroc, d.auroc_error
    return out


def evaluate(
    trained: Trained,
    judge: Judge,
    *,
    outside: Mapping[str, Tensor] | None = None,
    seed: int = 0,
    device: torch.device | None = None,
    batch: int = 500,
) -> tuple[dict[str, Any], Tensor]:
    """Everything that is measured of a checkpoint, and the samples it was measured on.

    Returns:
        step, n, scores of samples (`samples_...`), of stored sets (`buffer_...`), of held-out data (`floor_...`) and of uniform noise
        (`noise_...`), AUROCs, seconds of sampling; and the samples.
    """
    place = torch.device("cpu") if device is None else device
    began = time.monotonic()
    x = draw(trained, judge.n, seed=seed, device=place, batch=batch)
    out: dict[str, Any] = {"step": trained.step, "n": judge.n, "sampling_seconds": round(time.monotonic() - began, 2)}
    if not bool(torch.isfinite(x).all()):
        raise FloatingPointError(f"samples of step {trained.step} are not finite; the model or its sampler has diverged")
    sets = {"samples": judge.scores(x)}
    sets |= {name: judge.scores(s.float().cpu()) for name, s in trained.stored.items() if len(s) >= judge.n}
    for name, scores in {**sets, "floor": judge.floor, "noise": judge.noise}.items():
        out |= {f"{name}_{k}": v for k, v in scores.items()}
    return out | ood(trained, judge, outside or {}), x


def write_evaluation(folder: Path, result: Mapping[str, Any], x: Tensor) -> Path:
    """`step<N>.json`, a grid of samples for images, and a row of evaluation.csv; returns the json's path."""
    path = Path(folder) / f"step{result['step']:08d}.json"
    if x.ndim == 4 and x.shape[1] in (1, 3):
        write_png(path.with_suffix(".png"), x[:100], scale=max(1, 64 // x.shape[-1]))
    append_row(Path(folder) / "evaluation.csv", {k: v for k, v in result.items() if isinstance(v, (int, float))})
    write_atomic(path, json.dumps(result, indent=1) + "\n")
    return path


def checkpoints(
    run: Path, *, device: torch.device, watch: bool, minutes: float | None = None, pause: float = 5.0
) -> Iterator[Trained]:
    """The checkpoint of a run; with `watch`, every new one until the run is complete or the minutes are over."""
    path = Path(run) / LAST if Path(run).is_dir() or watch else Path(run)
    if not watch:
        yield load_trained(path, device=device)
        return
    began, seen = time.monotonic(), None
    while minutes is None or time.monotonic() - began < 60 * minutes:
        found = path.stat().st_mtime_ns if path.exists() else None
        if found != seen:
            seen = found
            trained = load_trained(path, device=device)
            yield trained
            if trained.step >= trained.total:
                return
        time.sleep(pause)
