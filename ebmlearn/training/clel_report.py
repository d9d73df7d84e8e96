"""What a CLEL run is worth: samples with and without the latent against their floor, conditional accuracy, detection; and the ablation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from ..datasets.augment import dequantise_bytes
from ..metrics.images import frechet_distance
from ..metrics.ood import auroc, standard_sets
from .clel import model_of, run_clel
from .clel_model import ClelConfig, ClelModel, load_bytes, plain_ebm
from .state import RunOptions


@torch.no_grad()
def features_of(classifier: Any, x: Tensor, *, batch: int = 2000) -> Tensor:
    """The classifier's features of images in [0, 1], `[N, L]`."""
    return torch.cat([classifier.features(b).flatten(1).float() for b in x.split(batch)])


@torch.no_grad()
def classes_of(classifier: nn.Module, x: Tensor, *, batch: int = 2000) -> tuple[Tensor, float]:
    """The classifier's classes and its mean confidence in them."""
    p = torch.cat([classifier(b).softmax(-1) for b in x.split(batch)])
    return p.argmax(-1), float(p.amax(-1).mean())


def nearest_distance(x: Tensor, to: Tensor) -> float:
    """Mean Euclidean distance from each x to its nearest image in `to`."""
    return float(torch.cdist(x.flatten(1), to.flatten(1)).amin(-1).mean())


def report_conditional(
    model: ClelModel, classifier: nn.Module, *, weights: tuple[float, ...] = (0.0, 1.0), per_class: int = 25, seed: int = 0
) -> dict[str, float]:
    """Sampling E(x, z) with z the latent of a class or of a single training image, judged by an independent classifier.

    Args:
        weights: w in 1/2 ||f||² - w cos(g(f(x)), z); w/T = 2000 is w = 1 at step 0.1, noise 0.01.
        per_class: images a class.

    Returns:
        For each w: accuracy and Frechet distance of class latents (n = 10 per_class, with their floor); for the largest and
        0: class match, Frechet distance and nearest-neighbour distance of instance latents.
    """
    generator = torch.Generator(model.device).manual_seed(seed)
    x, y, levels = load_bytes(model.config.data, "train")
    test, _, _ = load_bytes(model.config.data, "test")
    train = dequantise_bytes(x, levels=levels, generator=torch.Generator().manual_seed(seed))
    held = dequantise_bytes(test, levels=levels, generator=torch.Generator().manual_seed(seed + 1))
    reference = features_of(classifier, train)
    z = model.class_latents(train, y, generator=generator)
    wanted = torch.arange(10).repeat_interleave(per_class)
    n = len(wanted)
    out: dict[str, float] = {"fd_floor_class": float(frechet_distance(features_of(classifier, held[:n]), reference))}
    rows = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))[:n]
    own = model.latents(train[rows])
    for w in weights:
        for kind, latent, target in (("class", z[wanted.to(z.device)], wanted), ("instance", own, y[rows])):
            start = torch.Generator(model.device).manual_seed(seed + 1)
            terms = [(latent, w)] if w else []
            s = model.sample(n, terms=terms, rounds=4, generator=start).cpu()
            got, _ = classes_of(classifier, s)
            out[f"{kind}_accuracy_w{w:g}"] = float((got == target).double().mean())
            out[f"{kind}_fd_w{w:g}"] = float(frechet_distance(features_of(classifier, s), reference))
            if kind == "instance":
                out[f"instance_nearest_w{w:g}"] = nearest_distance(s, train)
    out["test_nearest"] = nearest_distance(held[:n], train)
    return out


def report_unconditional(
    model: ClelModel, classifier: nn.Module, buffer: Tensor | None = None, *, n: int = 500, seed: int = 0
) -> dict[str, float]:
    """Frechet distances of fresh chains (and of the buffer after 60 more steps) to the training set, with the floor of real test images."""
    x, _, levels = load_bytes(model.config.data, "train")
    test, _, _ = load_bytes(model.config.data, "test")
    train = dequantise_bytes(x, levels=levels, generator=torch.Generator().manual_seed(seed))
    held = dequantise_bytes(test, levels=levels, generator=torch.Generator().manual_seed(seed + 1))
    reference = features_of(classifier, train)
    generator = torch.Generator(model.device).manual_seed(seed)
    s = model.sample(n, generator=generator).cpu()
    out = {
        "fd_fresh": float(frechet_distance(features_of(classifier, s), reference)),
        "fd_floor": float(frechet_distance(features_of(classifier, held[:n]), reference)),
        "confidence": classes_of(classifier, s)[1],
    }
    if buffer is not None:
        moved = model.sample(min(n, len(buffer)), start=buffer, rounds=1, steps=30, generator=generator).cpu()
        out["fd_buffer"] = float(frechet_distance(features_of(classifier, moved), reference))
    return out


def report_detection(model: ClelModel, *, weights: tuple[float, ...] = (0.0, 1.0), seed: int = 0) -> dict[str, float]:
    """AUROC of -(E - w cos(g(f(x)), h(x))) on sets made from the test images; w = 0 is the marginal."""
    test, y, levels = load_bytes(model.config.data, "test")
    generator = torch.Generator().manual_seed(seed)
    x = dequantise_bytes(test, levels=levels, generator=generator)
    sets = standard_sets(x, y, generator=generator)
    out = {}
    for w in weights if model.encoder is not None else (0.0,):
        own = model.ood_score(x, weight=w)
        for name, outside in sets.items():
            out[f"auroc_{name}_w{w:g}"] = auroc(own, model.ood_score(outside, weight=w))
    return out


def clel_settings(base: ClelConfig, classifier: nn.Module) -> Mapping[str, Callable[[int], Mapping[str, float]]]:
    """The ablation of the latent: settings for `run_ablation`, each a function of the seed that trains and measures.

    No latent at all; SimCLR without and with the extra negatives; BYOL and masked autoencoding in its place; and two
    controls, a supervised encoder and a random fixed one.
    """

    def setting(config: ClelConfig) -> Callable[[int], Mapping[str, float]]:
        def one(seed: int) -> Mapping[str, float]:
            seeded = replace(config, seed=seed)
            with TemporaryDirectory() as folder:
                state = run_clel(seeded, RunOptions(out=Path(folder)))
            model = model_of(state, seeded)
            out = report_unconditional(model, classifier, state.buffer.x.cpu(), seed=seed)
            out |= report_detection(model, seed=seed)
            if model.encoder is not None:
                out |= report_conditional(model, classifier, seed=seed)
            return out

        return one

    variants = {
        "no latent": plain_ebm(base),
        "SimCLR, no extra negatives": replace(base, extra_negatives=False),
        "SimCLR": base,
        "BYOL": replace(base, encoder="byol"),
        "MAE": replace(base, encoder="mae"),
        "supervised": replace(base, encoder="supervised"),
        "random": replace(base, encoder="random"),
    }
    return {name: setting(config) for name, config in variants.items()}
