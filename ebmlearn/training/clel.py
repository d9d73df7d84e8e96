"""CLEL: an energy-based model and a contrastive encoder trained together from scratch; without the encoder, a plain energy-based model."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..contrastive import Learner, clel_guidance
from ..datasets.augment import AUGMENTS, dequantise_bytes
from ..energies.spherical import FeatureNorm, SphericalJoint
from ..networks.encoder import channels_last
from ..networks.resnet import bake, baked_twin, power_iterate
from ..objectives import contrastive_divergence, energy_l2
from ..samplers import ReplayBuffer
from .clel_model import ClelConfig, ClelModel, build_joint, build_learner, clel_preset, kernel_of, load_bytes
from .engine import ChainRunner, ema_update, explain_out_of_memory, fused_adam, fused_sgd, prepare_device, write_png
from .processes import gather_rows, share
from .state import BatchStream, Metrics, RunOptions, TrainState, bare, make_fabric, read_checkpoint, resume, run

__all__ = ["ClelConfig", "ClelState", "clel_losses", "clel_preset", "load_clel", "run_clel", "train_clel"]


class Parts(nn.Module):
    """x -> (1/2 ||f(x)||², g(f(x))): the one forward that the loss takes, so that it can be wrapped."""

    def __init__(self, joint: SphericalJoint) -> None:
        super().__init__()
        self.joint = joint

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.joint.parts(x)


@dataclass
class ClelState(TrainState):
    """Everything the future of a run depends on; the last three are None in a plain model."""

    energy: nn.Module
    optimizer: Any
    ema: nn.Module
    buffer: ReplayBuffer
    generator: torch.Generator
    batches: BatchStream
    learner: nn.Module | None = field(default=None)
    learner_optimizer: Any = field(default=None)
    learner_ema: nn.Module | None = field(default=None)


def energy_rate(step: int, config: ClelConfig) -> float:
    """Linear warm-up; then constant, or with `decay` linear from 60 % of the run to 5 % of the peak."""
    rate = config.learning_rate * min(1.0, (step + 1) / max(config.warm_up, 1))
    late = max(0.0, (step / config.steps - 0.6) / 0.4) if config.decay else 0.0
    return rate * (1 - 0.95 * min(late, 1.0))


def encoder_rate(step: int, config: ClelConfig) -> float:
    """Cosine to 0 over the run for SGD, constant for Adam."""
    if config.encoder_width < 64 and config.network == "mlp":
        return config.encoder_rate
    return config.encoder_rate * 0.5 * (1 + math.cos(math.pi * min(step / config.steps, 1.0)))


def clel_losses(e: Tensor, u: Tensor, n: int, z: Tensor | None, *, beta: float, alpha: float) -> tuple[Tensor, Tensor]:
    """The energy's loss, from one forward on cat(x+, x-), and mean cos(g(f(x+)), z).

    mean E(x+) - mean E(x-) + alpha (mean E(x+)² + mean E(x-)²) - beta mean cos(g(f(x+)), z), no gradient into z.

    Args:
        e, u: 1/2 ||f||² and g(f) of the n data, then of the chains.
        z: latents of the data, `[n, d]`; None without an encoder.

    References:
        Guiding energy-based models via contrastive latent variables (Lee, Jeong, Park, Shin, 2023), equation 10.
    """
    e_pos, e_neg = e[:n], e[n:]
    loss = contrastive_divergence(e_pos, e_neg) + alpha * energy_l2(e_pos, e_neg)
    if z is None or beta == 0:
        return loss, torch.zeros((), device=e.device)
    guidance = clel_guidance(u[:n], z)
    return loss + beta * guidance, -guidance.detach()


def train_clel(fabric: Any, state: ClelState, config: ClelConfig, *, levels: int = 256) -> Iterator[Metrics]:
    """Train for ever, one iteration a `next`; the body of your `for` is the callback.

    Each iteration moves buffered chains under a frozen twin of f, takes one forward of (f, g) on cat(x+, x-), updates
    the encoder with its own loss (g(f(x-)) as extra negatives) and the energy with `clel_losses`, then brings the
    spectral norms, the twin and the moving averages up to date. Nothing in the loop waits for the device.

    Yields:
        e_pos, e_neg, loss, loss_encoder, cosine, buffer_age.
    """
    device, g = fabric.device, state.generator
    joint: SphericalJoint = bare(state.energy).joint  # type: ignore[assignment]
    bf16 = config.trunk == "bf16"
    twin = baked_twin(joint.f, trunk_dtype=torch.bfloat16 if bf16 else None)
    runner = ChainRunner(FeatureNorm(twin), kernel_of(config), config.engine)
    views, chains = AUGMENTS[config.views], AUGMENTS[config.chains]
    if state.learner is not None:
        bare(state.learner).generator = g  # type: ignore[assignment]
    while True:
        batch, labels = state.batches.next()
        n = len(batch)
        x_pos = dequantise_bytes(batch, levels=levels, generator=g)
        index, x = state.buffer.draw(torch.rand(x_pos.shape, device=device, generator=g), generator=g)
        x_neg = runner.run(chains(x, generator=g), config.mcmc_steps, generator=g)
        state.buffer.store(index, x_neg)

        for group in state.optimizer.param_groups:
            group["lr"] = energy_rate(state.step, config)
        e, u = state.energy(torch.cat([x_pos, x_neg]))
        z, loss_encoder = None, torch.zeros((), device=device)
        if state.learner is not None:
            negatives = u[n:].detach() if config.extra_negatives else None
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                loss_encoder, z = state.learner(views(x_pos, generator=g), views(x_pos, generator=g), labels, negatives)
        loss, cosine = clel_losses(e, u, n, z, beta=config.beta, alpha=config.energy_l2)
        state.optimizer.zero_grad()
        fabric.backward(loss)
        state.optimizer.step()
        if state.learner is not None and state.learner_optimizer is not None:
            for group in state.learner_optimizer.param_groups:
                group["lr"] = encoder_rate(state.step, config)
            state.learner_optimizer.zero_grad()
            fabric.backward(loss_encoder)
            state.learner_optimizer.step()
            bare(state.learner).after_step()  # type: ignore[operator]

        power_iterate(joint)
        bake(joint.f, twin)
        ema_update(state.ema, joint, config.ema)
        if state.learner is not None and state.learner_ema is not None:
            ema_update(state.learner_ema, bare(state.learner).encoder, config.ema)  # type: ignore[arg-type]
        state.step += 1
        yield {
            "e_pos": e[:n].mean().detach(),
            "e_neg": e[n:].mean().detach(),
            "loss": loss.detach(),
            "loss_encoder": loss_encoder.detach(),
            "cosine": cosine,
            "buffer_age": state.buffer.age.float().mean(),
        }


def build_state(fabric: Any, config: ClelConfig, x: Tensor, y: Tensor) -> ClelState:
    """Networks, optimisers, buffer and batch stream on Fabric's device."""
    torch.manual_seed(config.seed)
    device, image_shape = fabric.device, tuple(x.shape[1:])
    joint = build_joint(config, image_shape).to(device)  # type: ignore[arg-type]
    if device.type == "cuda":
        channels_last(joint)
    if config.beta == 0 or config.encoder == "none":
        joint.g.requires_grad_(False)  # type: ignore[union-attr]
    learner = build_learner(config, image_shape, joint.f.out_features, n_classes=int(y.max()) + 1, gather=gather_rows)  # type: ignore[arg-type, union-attr]
    generator = torch.Generator(device).manual_seed(config.seed + 1000 * (fabric.global_rank + 1))
    start = torch.rand(share(config.buffer_size, "buffer_size"), *image_shape, device=device, generator=generator)
    batches = BatchStream(
        x.to(device),
        y.to(device),
        batch_size=share(config.batch_size, "batch_size"),
        seed=config.seed,
        rank=fabric.global_rank,
        world_size=fabric.world_size,
    )
    ema = copy.deepcopy(joint).requires_grad_(False)
    energy, optimizer = fabric.setup(
        Parts(joint), fused_adam([p for p in joint.parameters() if p.requires_grad], lr=config.learning_rate)
    )
    state = ClelState(
        energy=energy,
        optimizer=optimizer,
        ema=ema,
        buffer=ReplayBuffer(start, restart_prob=config.restart_prob),
        generator=generator,
        batches=batches,
    )
    if learner is not None:
        attach_learner(fabric, state, config, learner)
    return state


def attach_learner(fabric: Any, state: ClelState, config: ClelConfig, learner: Learner) -> None:
    """Put the encoder, its optimiser and its average into the state; a fixed encoder gets neither."""
    learner = learner.to(fabric.device)
    if fabric.device.type == "cuda":
        if fabric.world_size > 1:  # the batch statistics of all processes, as one process has them; torch has it for GPUs only
            learner = nn.SyncBatchNorm.convert_sync_batchnorm(learner)
        channels_last(learner)
    trained = [p for p in learner.parameters() if p.requires_grad]
    state.learner_ema = copy.deepcopy(learner.encoder).requires_grad_(False)
    if not trained:
        state.learner = learner
    elif config.network == "mlp":
        state.learner, state.learner_optimizer = fabric.setup(
            learner, fused_adam(trained, lr=config.encoder_rate, betas=(0.9, 0.999))
        )
    else:
        optimizer = fused_sgd(trained, lr=config.encoder_rate, momentum=0.9, weight_decay=5e-4)
        state.learner, state.learner_optimizer = fabric.setup(learner, optimizer)


def model_of(state: ClelState, config: ClelConfig) -> ClelModel:
    """The trained model, from the moving averages."""
    encoder = None if state.learner_ema is None else copy.deepcopy(state.learner_ema)
    return ClelModel(config, state.ema, encoder, tuple(state.buffer.x.shape[1:]))  # type: ignore[arg-type]


def run_clel(
    config: ClelConfig, options: RunOptions, *, fabric: Any = None, on_log: Any = None, limit: int | None = None
) -> ClelState:
    """Train from `config` into `options.out`: checkpoint, metrics.csv, samples.png (fresh chains), buffer.png; resumable, exactly.

    Args:
        fabric: from `make_fabric`; None is one CPU process.
        on_log: called with (step, metrics) at every logged step.
        limit: train on the first so many images only.

    Raises:
        Diverged: with the step and the last good checkpoint.
        OutOfMemory: with the settings to lower.
    """
    fabric = make_fabric() if fabric is None else fabric
    prepare_device(fabric.device)
    x, y, levels = load_bytes(config.data, "train")
    try:
        state = build_state(fabric, config, x[:limit], y[:limit])
        resume(fabric, state, recipe="clel", config=config, options=options)
        steps = train_clel(fabric, state, config, levels=levels)
        run(fabric, state, steps, recipe="clel", config=config, total=config.steps, options=options, on_log=on_log)
        if fabric.global_rank == 0:
            model = model_of(state, config)
            generator = torch.Generator(fabric.device).manual_seed(config.seed)
            rounds = 5 if config.data == "digits" else 10
            scale = max(1, 32 // x.shape[-1])
            write_png(
                options.out / "samples.png",
                model.sample(50, rounds=rounds, steps=2 * config.mcmc_steps, generator=generator),
                scale=scale,
            )
            write_png(options.out / "buffer.png", state.buffer.x[:50], scale=scale)
    except torch.OutOfMemoryError as error:
        raise explain_out_of_memory(
            error, batch_size=config.batch_size, buffer_size=config.buffer_size, network=config.network
        ) from error
    return state


def load_clel(path: Path) -> ClelModel:
    """The averaged model of a checkpoint."""
    payload = read_checkpoint(path, recipe="clel")
    config = ClelConfig(**payload["config"])
    saved = payload["state"]
    image_shape = tuple(saved["buffer"]["x"].shape[1:])
    joint = build_joint(config, image_shape)  # type: ignore[arg-type]
    joint.load_state_dict(saved["ema"])
    encoder = None
    if "learner_ema" in saved:
        learner = build_learner(config, image_shape, joint.f.out_features)  # type: ignore[arg-type]
        assert learner is not None
        encoder = learner.encoder
        encoder.load_state_dict(saved["learner_ema"])
    return ClelModel(config, joint, encoder, image_shape)  # type: ignore[arg-type]
