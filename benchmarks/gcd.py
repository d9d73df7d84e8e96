"""What an update of GCD costs: each way to train the sampler, against T; sampling speed; bytes held for the backward pass.

python -m benchmarks.gcd [--device cuda] [--data 8gaussians]
Written to benchmarks/gcd.md (on a CPU, in the plane).
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

import torch
from torch.utils.flop_counter import FlopCounterMode

from ebmlearn.training.game import GcdConfig, build_state, gcd_preset
from ebmlearn.training.gcd import sampler_losses, train_gcd
from ebmlearn.training.state import bare, make_fabric

from .common import write


def timed(fn, *, device: torch.device, repeat: int) -> float:
    """Median seconds of a call: process time on a CPU, which a busy machine does not inflate, wall time on a GPU."""
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    seconds = []
    for i in range(repeat + 1):
        if device.type == "cuda":
            torch.cuda.synchronize()
        began = clock()
        fn()
        if device.type == "cuda":
            torch.cuda.synchronize()
        if i > 0:
            seconds.append(clock() - began)
    return sorted(seconds)[len(seconds) // 2]


def ceiling(device: torch.device, n: int) -> float:
    """Floating point operations a second of a square matrix product."""
    a = torch.randn(n, n, device=device)
    return 2 * n**3 / timed(lambda: a @ a, device=device, repeat=5)


def held(fn) -> int:
    """Bytes of distinct tensors that autograd keeps for the backward pass of `fn()`."""
    seen: dict[int, int] = {}

    def pack(t: torch.Tensor) -> torch.Tensor:
        seen[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        fn()
    return sum(seen.values())


def measure(config: GcdConfig, fabric, *, repeat: int) -> dict[str, float]:
    """One setting: seconds of the sampler's step and of the whole update, samples a second, bytes held, operations."""
    device = fabric.device
    state = build_state(replace(config, pretrain_steps=0, warm_up=0), fabric)
    config = replace(config, pretrain_steps=0, warm_up=0)
    sampler = bare(state.sampler)
    state.energy.requires_grad_(False)

    def loss() -> torch.Tensor:
        path = None
        if config.update != "bptt":
            with torch.no_grad():
                path = sampler.path(config.batch_size, generator=state.generator)  # type: ignore[operator]
        return sampler_losses(state, config, path)[0]

    def step() -> None:
        state.opt_sampler.zero_grad()
        fabric.backward(loss())
        state.opt_sampler.step()

    with FlopCounterMode(display=False) as flops:
        step()
    out = {
        "sampler step": timed(step, device=device, repeat=repeat),
        "held": float(held(loss)),
        "flops": float(flops.get_total_flops()),
    }
    state.energy.requires_grad_(True)
    updates = train_gcd(fabric, state, config)
    out["update"] = timed(lambda: next(updates), device=device, repeat=repeat)
    out["samples"] = config.batch_size / timed(
        lambda: sampler.sample(config.batch_size, generator=state.generator),  # type: ignore[operator]
        device=device,
        repeat=repeat,
    )
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--data", default="8gaussians")
    parser.add_argument("--steps", type=int, nargs="*", default=[3, 5, 10, 20])
    parser.add_argument("--repeat", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    fabric = make_fabric(accelerator="cuda" if a.device.startswith("cuda") else "cpu")
    device = fabric.device
    peak = ceiling(device, 8192 if device.type == "cuda" else 1024)
    preset = gcd_preset(a.data)
    table = max(a.steps) if preset.table == 0 else preset.table
    lines = [
        f"{a.data}, batch {preset.batch_size}, float32. The limit is the step's floating point operations over the rate of a large matrix "
        f"product, {peak / 1e9:.0f} GFLOP/s here. Medians; processor seconds of one thread on a CPU, wall seconds on a GPU. The sampler's step "
        "includes drawing its paths; a path of T steps is T network calls. No public code of GCD exists to compare with.",
        "",
        "| T | sampler's step by | ms | whole update, ms | held for backward, MiB | limit of the step, ms | share of the limit | samples/s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for steps in a.steps:
        for update in ("pg", "bptt", "dp"):
            config = replace(preset, sampler_steps=steps, update=update, table=0 if preset.table == 0 else table)
            m = measure(config, fabric, repeat=a.repeat)
            limit = m["flops"] / peak
            lines.append(
                f"| {steps} | {update} | {1e3 * m['sampler step']:.1f} | {1e3 * m['update']:.1f} | {m['held'] / 2**20:.1f} | {1e3 * limit:.2f} "
                f"| {limit / m['sampler step']:.2f} | {m['samples']:.0f} |"
            )
            print(lines[-1], flush=True)
    stem = "gcd" if device.type == "cpu" and a.data == "8gaussians" else f"gcd_{a.data}_{device.type}"
    write(stem, "GCD: updates and samples", "\n".join(lines), f"python -m benchmarks.gcd --data {a.data} --device {a.device}")


if __name__ == "__main__":
    main()
