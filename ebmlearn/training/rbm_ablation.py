"""Ablations of the Gaussian-Bernoulli RBM: exact log-likelihood in the plane, AIS and classifier features on images."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from ..metrics.images import class_statistics, extract, frechet_distance
from .rbm import RBMConfig, RBMState, build, rbm_preset, samples_from_noise
from .rbm_data import FlatData, flat_data
from .rbm_report import as_images, log_likelihood
from .state import Diverged, Metrics, make_fabric

Setting = Callable[[int], Mapping[str, float]]


def train(config: RBMConfig, *, device: str = "cpu") -> tuple[RBMState, FlatData, float]:
    """A run without files: the state, the data, and the share of updates whose gradient was clipped.

    Raises:
        Diverged: a parameter left the finite numbers (looked at every 50 updates), or a variance collapsed.
    """
    fabric = make_fabric(accelerator="cuda" if device.startswith("cuda") else "cpu")
    state, data, steps = build(config, fabric)
    clipped = torch.zeros((), device=state.rbm.W.device)
    metrics: Metrics = {}
    while state.step < config.steps:
        metrics = next(steps)
        clipped += (metrics["grad_norm"] > config.clip) if config.clip else 0.0
        if (state.step % 50 == 0 or state.step == config.steps) and not _finite(state):
            raise Diverged(f"the run diverged at step {state.step}: the gradient or the weights are not finite")
    return state, data, float(clipped) / config.steps


def _finite(state: RBMState) -> bool:
    return math.isfinite(float(sum(p.detach().sum() for p in state.rbm.parameters())))


def score_plane(state: RBMState, data: FlatData) -> dict[str, float]:
    """Exact mean log-likelihood of the test points, in the data's own units, and their share of the truth's modes.

    mode_kl is KL(true weights || the model's mass nearest to each mode); 0 is right.
    """
    rbm, scale = state.rbm, state.scale
    ll = log_likelihood(rbm, scale(data.train), scale(data.test))["test"] - float(scale.log_det)
    modes = torch.tensor([[-5.0, -5.0], [5.0, -5.0], [0.0, 5.0]])
    axis = torch.linspace(-14, 14, 281)
    grid = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        p = torch.softmax(-rbm.marginalise()(scale(grid)), 0)
    nearest = torch.cdist(grid, modes).argmin(1)
    mass = torch.stack([p[nearest == k].sum() for k in range(3)]).clamp(min=1e-9)
    true = torch.tensor([0.33, 0.33, 0.34])
    return {"test LL": ll, "mode KL": float((true * (true / mass).log()).sum())}


def score_images(
    state: RBMState, data: FlatData, config: RBMConfig, *, classifier: Any, ais_sweeps: int = 500, n: int = 500, long: int = 200
) -> dict[str, float]:
    """AIS log-likelihood, Frechet distance in classifier features and classifier confidence, of matched and of long chains.

    Args:
        classifier: maps images to logits and has `.features`.
        n: images of each set; the floor is train against test at that size.
        long: sweeps of the long chains.
    """
    rbm, scale = state.rbm, state.scale
    device = rbm.W.device
    g = torch.Generator(device).manual_seed(config.seed + 99)
    train_x, test_x = (scale(data.points(rows[:5000].to(device), generator=g)) for rows in (data.train, data.test))
    found = log_likelihood(rbm, train_x, test_x, sweeps=ais_sweeps, chains=200, generator=g)
    real = extract(as_images(data.test[:n], data.shape), classifier.features)
    result = {"test LL": found["test"], "AIS ess": found["ess"]}
    for name, sweeps in (("matched", config.sweeps), ("long", long)):
        _, mean = samples_from_noise(rbm, config, n, sweeps, generator=g)
        images = as_images(scale.back(mean), data.shape).detach().cpu()
        result[f"Frechet {name}"] = frechet_distance(extract(images, classifier.features), real)
        result[f"confidence {name}"] = class_statistics(extract(images, classifier)).confidence
    return result


def floor(classifier: Any, seed: int, *, n: int = 500) -> dict[str, float]:
    """What data themselves score: n training digits against the test digits, and the confidence on those."""
    data = flat_data("digits")
    rows = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(seed))[:n]
    test, other = (as_images(x, data.shape) for x in (data.test[:n], data.train[rows]))
    distance = frechet_distance(extract(other, classifier.features), extract(test, classifier.features))
    return {"Frechet matched": distance, "confidence matched": class_statistics(extract(test, classifier)).confidence}


def official(config: RBMConfig, **changes: Any) -> RBMConfig:
    """The paper's start and optimiser at the size of `config`: noise-started chains, W ~ 1/sqrt(D + H), b = 0, SGD .01, clip 10, every state counted."""
    base = replace(
        config,
        negatives="noise",
        sweeps=10,
        burn_in=0,
        init="paper",
        init_var=1.0,
        optimizer="sgd",
        learning_rate=0.01,
        clip=10.0,
        sampler="gibbs-langevin",
    )
    return replace(base, **changes)


def image_variants(base: RBMConfig) -> dict[str, RBMConfig]:
    """The settings of the ablation on images: one change at a time, from the paper's recipe and from persistent chains."""
    paper, pcd = official(base), base
    return {
        "paper's recipe (T = 1)": paper,
        "- last state only, not all": replace(paper, burn_in=None),
        "- no clipping": replace(paper, clip=0.0),
        "- fixed variance 1": replace(paper, learn_variance=False),
        "- T = batch (released scaling)": replace(paper, released_scaling=True, step_size=20.0),
        "- chains from data": replace(paper, negatives="data"),
        "- CD-1": replace(paper, sweeps=1),
        "- CD-40": replace(paper, sweeps=40),
        "- Gibbs": replace(paper, sampler="gibbs"),
        "- Langevin": replace(paper, sampler="langevin"),
        "persistent chains, SGD .1": pcd,
        "- no clipping, SGD .1": replace(pcd, clip=0.0),
        "- fixed variance 1, SGD .1": replace(pcd, learn_variance=False),
        "modified CD-20, Adam .003": replace(pcd, negatives="noise", sweeps=20, optimizer="adam", learning_rate=0.003, clip=0.0),
        "modified CD-20, Adam .003, fixed variance": replace(
            pcd, negatives="noise", sweeps=20, optimizer="adam", learning_rate=0.003, clip=0.0, learn_variance=False
        ),
    }


def plane_variants(base: RBMConfig) -> dict[str, RBMConfig]:
    """The settings on the mixture in the plane."""
    paper = official(base, n_chains=base.n_chains, step_size=0.3)
    return {
        "2-D: annealed CD": base,
        "2-D: - weights off": replace(base, annealed_weights=False),
        "2-D: persistent chains": replace(base, negatives="pcd"),
        "2-D: CD from noise": replace(base, negatives="noise", sweeps=20),
        "2-D: CD from data": replace(base, negatives="data", sweeps=20),
        "2-D: fixed variance 1": replace(base, learn_variance=False, init_var=1.0),
        "2-D: paper's recipe (T = 1)": paper,
        "2-D: - T = batch (released scaling)": replace(paper, released_scaling=True, step_size=10.0),
    }


def ablate_rbm(*, steps: int | None = None, classifier: nn.Module | None = None) -> Mapping[str, Setting]:
    """Settings for `run_ablation`: the mixture in the plane and the digits.

    Args:
        steps: updates a run; None is 1500.
        classifier: of the digits, with `.features`; without it no Frechet distance and no confidence.
    """
    out: dict[str, Setting] = {}
    for name, config in plane_variants(replace(rbm_preset("gmm2d"), steps=steps or 1500)).items():
        out[name] = _plane(config)
    digits = replace(rbm_preset("digits"), steps=steps or 1500)
    for name, config in image_variants(digits).items():
        out[f"digits: {name}"] = _images(config, classifier)
    if classifier is not None:
        out["digits: data against data (the floor)"] = lambda seed: floor(classifier, seed)
    return out


def _plane(config: RBMConfig) -> Setting:
    def one(seed: int) -> Mapping[str, float]:
        state, data, clipped = train(replace(config, seed=seed))
        return {**score_plane(state, data), "clipped": clipped}

    return one


def _images(config: RBMConfig, classifier: Any) -> Setting:
    def one(seed: int) -> Mapping[str, float]:
        chosen = replace(config, seed=seed)
        state, data, clipped = train(chosen)
        try:
            return {**scores(state, data, chosen, seed), "clipped": clipped}
        except ValueError as error:  # weights that are finite and a log Z that is not
            raise Diverged(str(error)) from error

    def scores(state: RBMState, data: FlatData, chosen: RBMConfig, seed: int) -> Mapping[str, float]:
        if classifier is None:
            x = [state.scale(data.points(rows)) for rows in (data.train, data.test)]
            found = log_likelihood(state.rbm, *x, sweeps=500, chains=200, generator=torch.Generator().manual_seed(seed))
            return {"test LL": found["test"], "AIS ess": found["ess"]}
        return score_images(state, data, chosen, classifier=classifier)

    return one
