"""Generalized contrastive divergence: an energy and a short diffusion sampler, trained against each other."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ..objectives import cost_to_go, effective_fraction, gcd_energy, gcd_sampler, path_log_weight, policy_gradient
from ..samplers.diffusion import Path
from .engine import out_of_memory
from .game import GcdConfig, GcdState, build_state, gcd_preset, write_weights
from .processes import gather_rows, share, world_size
from .state import Metrics, RunOptions, bare, make_fabric, resume, run

__all__ = ["GcdConfig", "GcdState", "gcd_preset", "run_gcd", "sampler_losses", "train_gcd"]


def _rate(optimizer: Any, factor: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = group["base"] * factor


def _descend(fabric: Any, optimizer: Any, loss: Tensor, *, clip: tuple[nn.Module, float] | None = None) -> None:
    optimizer.zero_grad()
    fabric.backward(loss)
    if clip is not None:
        nn.utils.clip_grad_norm_(clip[0].parameters(), clip[1])
    optimizer.step()


def sampler_losses(state: GcdState, config: GcdConfig, path: Path | None) -> tuple[Tensor, Tensor | None]:
    """The losses of the sampler and, where there is one, of its value function, by the chosen update.

    Args:
        path: an old path for "pg" and "dp" (its points are constants); "bptt" draws its own.
    """
    sampler, energy, backward, value = state.sampler, bare(state.energy), state.backward, state.value
    on = 1.0 if config.entropy else 0.0
    if path is None:
        path = sampler.path(share(config.batch_size, "batch_size"), generator=state.generator)  # type: ignore[operator]
        log_q = backward(path.x)
        weight = -energy(path.x[0]) / config.temperature + on * (log_q.sum(0) - path.log_prob)
        return gcd_sampler(weight), None
    k = bare(sampler).step_levels(path.x)  # type: ignore[operator]
    if config.update == "pg":
        with torch.no_grad():
            log_q = backward(path.x)
            cost = cost_to_go(energy(path.x[0]), on * path.log_policy, on * log_q, temperature=config.temperature)
        v = value(path.x[1:], k).squeeze(-1)
        advantage = (cost - v).detach()
        everyone = gather_rows(advantage.T).T if world_size() > 1 else None
        return policy_gradient(sampler(path.x), advantage, everyone=everyone), (v - cost).square().mean()
    sigma = bare(sampler).log_sigma.exp()  # type: ignore[union-attr]
    noise = torch.randn(path.x[1:].shape, generator=state.generator, device=path.x.device)
    ones = (1,) * (path.x.ndim - 1)
    y = sampler.mean(path.x[1:], k) + sigma.reshape(-1, *ones) * noise  # type: ignore[operator]
    end = energy(y[:1]) / config.temperature
    for player in (value, backward):  # the sampler moves in a landscape that its own step leaves as it is
        player.requires_grad_(False)
    ahead = torch.cat([end, bare(value)(y[1:], k[:-1]).squeeze(-1)])
    running = -bare(sampler).entropies().reshape(-1, 1) - bare(backward).log_step(y, path.x[1:])  # type: ignore[operator]
    for player in (value, backward):
        player.requires_grad_(True)
    target = ahead + on * running
    v = value(path.x[1:].detach(), k).squeeze(-1)
    return target.sum(0).mean(), (v - target.detach()).square().mean()


def train_gcd(fabric: Any, state: GcdState, config: GcdConfig) -> Iterator[Metrics]:
    """Train for ever, one update a `next`: `pretrain_steps` denoising updates, then the game.

    A game update draws fresh paths of the sampler pi and moves, in this order,
    the backward kernel q up its likelihood on the paths; the sampler down KL(path || q-path target) by the chosen update;
    the energy down mean E(x+) - sum_i v_i E(x_i-), with v the paths' importance weights or 1/n.

    Args:
        fabric: from `make_fabric`.
        state: advanced in place, one `state.step` before each yield.
        config: which of the updates; its `data`, `seed`, `init` and network sizes are not used here.

    Yields:
        loss_denoise, e_pos, e_neg, log_z (log of the mean path weight), elbo (mean log w), ess (effective fraction of the
        weights), grad_norm (of the energy) and sigma_T, the first action's noise; zeros before their phase.

    References:
        Generalized contrastive divergence: joint training of energy-based model and diffusion model through inverse
        reinforcement learning (Yoon, Kwon, Hwang, Noh, Park, 2023).
        Maximum entropy inverse reinforcement learning of diffusion models with energy-based models (Yoon et al., 2024), for "dp".
    """
    while True:
        if state.step < config.pretrain_steps:
            metrics = _denoise(fabric, state, config)
        else:
            metrics = _play(fabric, state, config)
        state.step += 1
        yield metrics


NAMES = ("loss_denoise", "e_pos", "e_neg", "log_z", "elbo", "ess", "grad_norm", "sigma_T")


def _denoise(fabric: Any, state: GcdState, config: GcdConfig) -> Metrics:
    (x,) = state.pretrain_batches.next()
    _rate(state.opt_pretrain, 1 - state.step / config.pretrain_steps)
    loss = state.sampler.denoising_loss(x, generator=state.generator)  # type: ignore[operator]
    _descend(fabric, state.opt_pretrain, loss)
    state.ema_sampler.update_parameters(bare(state.sampler))  # type: ignore[operator]
    if state.step + 1 == config.pretrain_steps:
        _start_averages(state)
    metrics = {name: loss.new_zeros(()) for name in NAMES}
    return metrics | {"loss_denoise": loss.detach()}


def _start_averages(state: GcdState) -> None:
    """The game starts from the averaged sampler; then every average starts afresh."""
    bare(state.sampler).load_state_dict(state.ema_sampler.module.state_dict())  # type: ignore[union-attr]
    for ema in (state.ema_sampler, state.ema_energy, state.ema_backward):
        ema.n_averaged.zero_()  # type: ignore[union-attr, operator]


def _play(fabric: Any, state: GcdState, config: GcdConfig) -> Metrics:
    played = state.step - config.pretrain_steps
    late = played / max(config.steps, 1)
    for optimizer in (
        state.opt_sampler,
        state.opt_energy,
        state.opt_value,
        *([state.opt_backward] if state.opt_backward else []),
    ):
        _rate(optimizer, min(1.0, max(0.0, 2 * (1 - late))))
    sampler: Any = bare(state.sampler)
    energy, backward, g = bare(state.energy), bare(state.backward), state.generator
    (x_pos,) = state.batches.next()

    for _ in range(config.sampler_updates):
        with torch.no_grad():
            path = sampler.path(share(config.batch_size, "batch_size"), generator=g)
        if state.opt_backward is not None:
            _descend(fabric, state.opt_backward, -state.backward(path.x).sum(0).mean())
        if played < config.warm_up:
            if config.update != "bptt":  # let the value function find its level first
                v_loss = sampler_losses(state, config, path)[1]
                assert v_loss is not None
                _descend(fabric, state.opt_value, v_loss)
            continue
        energy.requires_grad_(False)
        loss, v_loss = sampler_losses(state, config, None if config.update == "bptt" else path)
        energy.requires_grad_(True)
        _descend(fabric, state.opt_sampler, loss, clip=(sampler, config.clip_norm))
        if v_loss is not None:
            _descend(fabric, state.opt_value, v_loss)

    with torch.no_grad():
        path = sampler.path(share(config.batch_size, "batch_size"), generator=g)
        log_q = backward(path.x).sum(0)
    x_neg = path.x[0]
    e_pos, e_neg = state.energy(torch.cat([x_pos, x_neg])).split([len(x_pos), len(x_neg)])
    log_w = path_log_weight(e_neg.detach(), log_q, path.log_prob, temperature=config.temperature)
    every_w = gather_rows(log_w)
    loss_e = gcd_energy(
        e_pos,
        e_neg,
        log_weights=log_w if config.negatives == "weighted" else None,
        gamma=config.gamma,
        everyone=every_w if world_size() > 1 else None,
    )
    state.opt_energy.zero_grad()
    fabric.backward(loss_e)
    norm = torch.stack(torch._foreach_norm([p.grad for p in energy.parameters() if p.grad is not None])).norm()
    if not config.freeze_energy_at or played < config.freeze_energy_at:
        state.opt_energy.step()
    state.ema_sampler.update_parameters(sampler)  # type: ignore[operator]
    state.ema_energy.update_parameters(energy)  # type: ignore[operator]
    if state.opt_backward is not None:
        state.ema_backward.update_parameters(backward)  # type: ignore[operator]
    return {
        "loss_denoise": norm.new_zeros(()),
        "e_pos": e_pos.mean().detach(),
        "e_neg": e_neg.mean().detach(),
        "log_z": torch.logsumexp(every_w, 0) - math.log(len(every_w)),
        "elbo": every_w.mean(),
        "ess": effective_fraction(every_w),
        "grad_norm": norm,
        "sigma_T": sampler.log_sigma[-1].detach().exp(),
    }


def run_gcd(config: GcdConfig, options: RunOptions, *, fabric: Any = None, on_log: Any = None) -> GcdState:
    """Train from `config` into `options.out`: last.ckpt, metrics.csv, and the averaged sampler and energy as safetensors.

    Args:
        fabric: from `make_fabric`; None is one CPU process.
        on_log: called with (step, metrics) at every logged step.

    Raises:
        Diverged: with the step and the last good checkpoint.
        OutOfMemory: with the settings to lower.
    """
    fabric = make_fabric() if fabric is None else fabric
    total = config.pretrain_steps + config.steps
    try:
        state = build_state(config, fabric)
        resume(fabric, state, recipe="gcd", config=config, options=options)
        steps = train_gcd(fabric, state, config)
        run(fabric, state, steps, recipe="gcd", config=config, total=total, options=options, on_log=on_log)
    except torch.OutOfMemoryError as error:
        settings = f"batch_size={config.batch_size}, sampler_steps={config.sampler_steps}, width={config.width}, update={config.update!r}"
        lower = f"--batch-size {max(1, config.batch_size // 2)} (in the pretraining --pretrain-batch-size), a smaller --width, --precision bf16-mixed"
        if config.update == "bptt":
            lower += "; back-propagation keeps every step of a path: fewer --sampler-steps, or --update pg"
        raise out_of_memory(error, settings=settings, lower=lower) from error
    if fabric.global_rank == 0:
        sampler, energy, _ = state.trained
        write_weights(sampler, options.out / "sampler.safetensors")
        write_weights(energy, options.out / "energy.safetensors")
    return state
