"""Gaussian-Bernoulli RBMs: contrastive divergence from data or noise, persistent chains, and annealed chains with weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..energies.rbm import GaussianBernoulliRBM
from ..samplers import AnnealedPath, GibbsLangevin, MemoryGibbs, MetropolisSweep, annealed_chains, sample
from ..samplers.sweeps import Gradients, Sweeps
from ..schedules import cosine
from .engine import out_of_memory
from .processes import gather_rows, share
from .rbm_config import RBMConfig
from .rbm_config import rbm_preset as rbm_preset  # beside the recipe, where one looks for it
from .rbm_data import FlatData, Standardise, flat_data, warn_unless_standardised
from .rbm_report import report
from .state import BatchStream, Diverged, Metrics, RunOptions, TrainState, make_fabric, read_checkpoint, resume, run

NEGATIVES = ("annealed", "pcd", "noise", "data")
SAMPLERS = ("gibbs", "gibbs-langevin", "langevin")
CHECK_EVERY = 50  # updates between looks at the variances, each of which waits for the device
COLLAPSE = 1e-7  # a variance below this, in standardised units, is a collapse


@dataclass
class RBMState(TrainState):
    """Everything the future of a run depends on."""

    rbm: GaussianBernoulliRBM
    optimizer: Any
    generator: torch.Generator
    batches: BatchStream
    scale: Standardise
    shape: Tensor  # of one point before it was flattened
    chains: Tensor | None = field(default=None)


def kernel_of(config: RBMConfig) -> GibbsLangevin | MemoryGibbs:
    """The kernel of a configuration."""
    if config.sampler not in SAMPLERS:
        raise ValueError(f"expected sampler to be one of {SAMPLERS}; got {config.sampler!r}")
    if config.released_scaling:
        return GibbsLangevin.released(batch_size=config.n_chains, step_size=config.step_size, n_inner=config.n_inner)
    if config.sampler == "gibbs":
        return MemoryGibbs(temperature=config.temperature)
    if config.sampler == "langevin":
        return GibbsLangevin(step_size=config.step_size, n_inner=1, anneal=False, temperature=config.temperature)
    return GibbsLangevin(step_size=config.step_size, n_inner=config.n_inner, temperature=config.temperature)


def check_variances(rbm: GaussianBernoulliRBM, kernel: GibbsLangevin | MemoryGibbs, step: int) -> None:
    """Raise Diverged when a variance has collapsed (names the dimension) or the kernel's step has become unstable."""
    variance = rbm.variance.detach()
    low = int(variance.argmin())
    if float(variance[low]) < COLLAPSE:
        raise Diverged(
            f"variance collapse at step {step}: s² of dimension {low} is {float(variance[low]):.3g}. That entry of the data is (almost) constant or "
            "a copy of others, and its density grows without bound: add noise, dequantise, raise min_std, or fix the variance"
        )
    try:
        kernel.check_stable(variance)
    except ValueError as error:
        raise Diverged(f"at step {step}: {error}") from error


def train_rbm(
    fabric: Any,
    state: RBMState,
    *,
    points: Callable[[Tensor], Tensor],
    sweeps: Sweeps,
    k: int,
    n_chains: int = 100,
    negatives: str = "noise",
    burn_in: int | None = None,
    path: AnnealedPath | None = None,
    annealed_weights: bool = True,
    metropolis: bool = False,
    clip: float = 10.0,
    learning_rate: Callable[[int], float] | None = None,
) -> Iterator[Metrics]:
    """Train for ever, one update a `next`; the body of your `for` is the callback.

    The gradient of the mean negative log-likelihood is <dF/dtheta> over data minus <dF/dtheta> over the model; both are closed
    forms, so there is no backward pass. The chains estimate the second.

    Args:
        fabric: from `make_fabric`.
        state: advanced in place, one `state.step` before each yield.
        points: raw batch -> standardised points `[N, D]`.
        sweeps: runs the chains.
        k: sweeps an update.
        negatives: "noise", "data", "pcd" or "annealed"; see `RBMConfig`.
        path: of "annealed"; None is a standard normal base.
        metropolis: test each sweep.
        clip: largest norm of the whole gradient; 0 is none.
        learning_rate: of the step number; None leaves the optimizer's own.

    Yields:
        grad_norm (before clipping), var_min, var_max, on_data and on_model (mean hidden activity), and for annealed CD ess,
        the effective share of the chains.

    References:
        Training restricted Boltzmann machines using approximations to the likelihood gradient (Tieleman, 2008).
        Gaussian-Bernoulli RBMs without tears (Liao, Kornblith, Ren, Fleet, Hinton, 2022).
    """
    if negatives not in NEGATIVES:
        raise ValueError(f"expected negatives to be one of {NEGATIVES}; got {negatives!r}")
    rbm, g = state.rbm, state.generator
    parameters = [p for p in rbm.parameters() if p.requires_grad]
    named = [(n, p) for n, p in rbm.named_parameters() if p.requires_grad]
    device = rbm.W.device
    if negatives == "annealed" and path is None:
        path = AnnealedPath(mean=torch.zeros(rbm.n_visible, device=device), variance=torch.ones(rbm.n_visible, device=device))
    while True:
        if state.step % CHECK_EVERY == 0:
            check_variances(rbm, sweeps.kernel, state.step)
        x = points(state.batches.next()[0])
        positive = sweeps.statistics(x)
        metrics: Metrics = {}
        if negatives == "annealed":
            assert path is not None
            x_neg, log_w = annealed_chains(rbm, path, n_chains, k, generator=g)
            log_w = log_w if annealed_weights else torch.zeros_like(log_w)
            every = gather_rows(log_w)  # normalised over the chains of all processes, whose gradients are averaged
            weight = torch.softmax(log_w, 0)
            if every is not log_w:
                weight = (log_w - torch.logsumexp(every, 0)).exp() * (len(every) / n_chains)
            metrics["ess"] = 1 / (torch.softmax(every, 0).square().sum() * len(every))
            negative: Gradients = rbm.gradients(x_neg, weight=weight)
        else:
            start = _start(negatives, state, x, n_chains)
            if metropolis:
                x_neg = sample(rbm, MetropolisSweep(kernel=sweeps.kernel), start, k, generator=g)
                negative = sweeps.statistics(x_neg)
            else:
                x_neg, negative = sweeps.run(start, k, burn_in=burn_in, generator=g)
            if state.chains is not None:
                state.chains.copy_(x_neg)
        for name, p in named:
            p.grad = positive[name] - negative[name]
            if fabric.world_size > 1:
                p.grad = fabric.all_reduce(p.grad, reduce_op="mean")
        if learning_rate is not None:
            for group in state.optimizer.param_groups:
                group["lr"] = learning_rate(state.step)
        metrics["grad_norm"] = torch.nn.utils.clip_grad_norm_(parameters, clip if clip else float("inf"))
        state.optimizer.step()
        state.step += 1
        log_var = rbm.log_var.detach()
        metrics.update(
            var_min=log_var.min().exp(),
            var_max=log_var.max().exp(),
            on_data=-positive["b"].mean(),
            on_model=-negative["b"].mean(),
        )
        yield metrics


def _start(negatives: str, state: RBMState, x: Tensor, n_chains: int) -> Tensor:
    if negatives == "pcd":
        if state.chains is None:
            raise ValueError("persistent chains need state.chains; give some or choose negatives='noise'")
        return state.chains
    if negatives == "data":
        return x[:n_chains]
    return torch.randn(n_chains, x.shape[1], dtype=x.dtype, device=x.device, generator=state.generator)


def build_rbm(config: RBMConfig, x: Tensor, *, generator: torch.Generator) -> GaussianBernoulliRBM:
    """The machine at its start, from standardised data on the CPU."""
    rbm = GaussianBernoulliRBM(
        x.shape[1], config.n_hidden, init_var=config.init_var, learn_variance=config.learn_variance, generator=generator
    )
    if config.init == "small":
        rbm.initialise(
            x, init_var=config.init_var, weight_scale=config.weight_scale, activity=config.activity, generator=generator
        )
    elif config.init != "paper":
        raise ValueError(f"expected init 'small' or 'paper'; got {config.init!r}")
    return rbm


def build_optimizer(config: RBMConfig, rbm: GaussianBernoulliRBM) -> torch.optim.Optimizer:
    """SGD without momentum, or Adam; weight decay on W alone."""
    groups = [
        {"params": [rbm.W], "weight_decay": config.weight_decay},
        {"params": [p for n, p in rbm.named_parameters() if n != "W" and p.requires_grad], "weight_decay": 0.0},
    ]
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.learning_rate)
    if config.optimizer == "adam":
        return torch.optim.Adam(groups, lr=config.learning_rate, fused=rbm.W.is_cuda)
    raise ValueError(f"expected optimizer 'sgd' or 'adam'; got {config.optimizer!r}")


def build(config: RBMConfig, fabric: Any) -> tuple[RBMState, FlatData, Iterator[Metrics]]:
    """The state of a new run, its data, and the recipe that advances it."""
    device = fabric.device
    data = flat_data(config.data, limit=config.limit or None, noise=config.noise)
    scale = data.standardise(config.standardise, min_std=config.min_std)
    first = torch.Generator().manual_seed(config.seed)
    x = scale(data.points(data.train[:5000], generator=first))
    warn_unless_standardised(x)
    rbm = build_rbm(config, x, generator=first).to(device)
    generator = torch.Generator(device).manual_seed(config.seed + 1000 * (fabric.global_rank + 1))
    scale = scale.to(device)
    kernel = kernel_of(config)
    chains = None
    if config.negatives == "pcd":
        chains = torch.randn(share(config.n_chains, "n_chains"), x.shape[1], generator=generator, device=device)
    state = RBMState(
        rbm=rbm,
        optimizer=build_optimizer(config, rbm),
        generator=generator,
        batches=BatchStream(
            data.train.to(device),
            batch_size=share(min(config.batch_size, len(data.train)), "batch_size"),
            seed=config.seed,
            rank=fabric.global_rank,
            world_size=fabric.world_size,
        ),
        scale=scale,
        shape=torch.tensor(data.shape),
        chains=chains,
    )
    steps = train_rbm(
        fabric,
        state,
        points=lambda rows: scale(data.points(rows, generator=generator)),
        sweeps=Sweeps(rbm, kernel, marginal=config.sampler == "langevin", products=config.products),  # type: ignore[arg-type]
        k=config.sweeps,
        n_chains=share(config.n_chains, "n_chains"),
        negatives=config.negatives,
        burn_in=config.burn_in,
        annealed_weights=config.annealed_weights,
        metropolis=config.metropolis,
        clip=config.clip,
        learning_rate=cosine(config.learning_rate, 0.0, steps=config.steps + 1),
    )
    return state, data, steps


def run_rbm(config: RBMConfig, options: RunOptions, *, fabric: Any = None, on_log: Any = None, draw: bool = True) -> RBMState:
    """Train from `config` into `options.out`: checkpoint, metrics.csv, figures, results.json; resumable, exactly.

    Args:
        fabric: from `make_fabric`; None is one CPU process.
        on_log: called with (step, metrics) at every logged step.
        draw: measure and draw at the end.
    """
    fabric = make_fabric() if fabric is None else fabric
    try:
        state, data, steps = build(config, fabric)
        resume(fabric, state, recipe="rbm", config=config, options=options)
        run(fabric, state, steps, recipe="rbm", config=config, total=config.steps, options=options, on_log=on_log)
    except torch.OutOfMemoryError as error:
        settings = f"batch_size={config.batch_size}, n_chains={config.n_chains}, n_hidden={config.n_hidden}"
        lower = f"--batch-size {max(1, config.batch_size // 2)} and --n-chains {max(1, config.n_chains // 2)}, a smaller --n-hidden, or --limit on the data"
        raise out_of_memory(error, settings=settings, lower=lower) from error
    if draw and fabric.global_rank == 0:
        g = torch.Generator(state.rbm.W.device).manual_seed(config.seed + 99)
        samples = samples_from_noise(state.rbm, config, 4000 if data.shape == (2,) else 400, config.sweeps, generator=g)
        report(state.rbm, state.scale, data, Path(options.out), samples=samples, sweeps=config.ais_sweeps, generator=g)
    return state


def load_rbm(path: Path) -> tuple[GaussianBernoulliRBM, Standardise, RBMConfig]:
    """The machine of a checkpoint, the units it works in, and its configuration."""
    payload = read_checkpoint(path, recipe="rbm")
    config = RBMConfig(**payload["config"])
    saved = payload["state"]
    n_visible, n_hidden = saved["rbm"]["W"].shape
    rbm = GaussianBernoulliRBM(n_visible, n_hidden, learn_variance=config.learn_variance)
    rbm.load_state_dict(saved["rbm"])
    scale = Standardise(saved["scale"]["mean"], saved["scale"]["std"])
    return rbm, scale, config


def samples_from_noise(
    rbm: GaussianBernoulliRBM, config: RBMConfig, n: int, sweeps: int, *, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """n chains of the training's own kernel from N(0, I): last positions, and the conditional means mu + W z they were drawn around."""
    engine = Sweeps(rbm, kernel_of(config), marginal=config.sampler == "langevin", graph=False, fuse=False)
    x = torch.randn(n, rbm.n_visible, generator=generator, device=rbm.W.device, dtype=rbm.W.dtype)
    x = engine.positions(x, sweeps, generator=generator)
    with torch.no_grad():
        z = rbm.sample_z(x, temperature=engine.kernel.z_temperature, generator=generator)
        return x, rbm.mean(z)
