"""One CLEL training iteration: ebmlearn's engine against a straightforward port of the paper's loop, in one run.

python -m benchmarks.clel                        # tiny, on this CPU: that it runs
python -m benchmarks.clel --network base --batch-size 64 --mcmc-steps 60 --device cuda

The port does what the published loop does, written plainly: power iteration of every spectral norm in every forward,
float32 (TF32 where the device's convolutions default to it), no graph, separate forwards for x+ and x-, a third encoder
forward for the latents, restarts in a Python loop, the loss read off the device in every iteration.
"""

from __future__ import annotations

import argparse
import copy
import time
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ebmlearn.contrastive import nt_xent
from ebmlearn.datasets.augment import AUGMENTS
from ebmlearn.energies.spherical import FeatureNorm
from ebmlearn.networks.encoder import ResNetEncoder
from ebmlearn.networks.resnet import RESNETS, SpectralConv2d, baked_twin, energy_resnet, projection
from ebmlearn.training.clel import build_state, train_clel
from ebmlearn.training.clel_model import clel_preset, kernel_of
from ebmlearn.training.engine import ChainRunner, prepare_device
from ebmlearn.training.state import make_fabric


def seconds_of(fn, repeats, device):
    """Median wall seconds of fn, the device drained before and after each call."""
    times = []
    for _ in range(repeats):
        if device.type == "cuda":
            torch.cuda.synchronize()
        began = time.perf_counter()
        fn()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return sorted(times)[len(times) // 2]


def matmul_ceiling(device, dtype, n):
    """FLOP/s of an n x n x n product of random numbers."""
    a, b = torch.randn(2, n, n, device=device).to(dtype)
    for _ in range(3):
        a @ b
    return 2 * n**3 / seconds_of(lambda: [a @ b for _ in range(5)], 5, device) * 5


def forward_flops(net, shape):
    """FLOPs (2 per multiply-add) of one forward of one image."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(torch.rand(1, *shape))
    return counter.get_total_flops()


def print_profile(title, fn, rows=25):
    """The kernels of one call of fn, the longest first."""
    kinds = [torch.profiler.ProfilerActivity.CPU]
    if torch.cuda.is_available():
        kinds = [torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=kinds) as found:
        fn()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
    print(title)
    events = sorted(found.key_averages(), key=lambda e: -(e.self_device_time_total or e.self_cpu_time_total))
    for e in events[:rows]:
        print(f"  {(e.self_device_time_total or e.self_cpu_time_total) / 1e3:9.3f} ms  {e.count:5d} x  {e.key[:110]}")


class PlainLoop:
    """The paper's loop, written plainly."""

    def __init__(self, config, images, device):
        self.config, self.images, self.device = config, images, device
        f = energy_resnet(config.network, in_channels=images.shape[1])
        for m in f.modules():
            if isinstance(m, SpectralConv2d):
                m.spectral_norm = False
                del m.u, m.v
        for m in list(f.modules()):
            if isinstance(m, SpectralConv2d):
                nn.utils.parametrizations.spectral_norm(m)
        self.f = f.to(device).train()
        self.g = projection(f.out_features, hidden_features=config.project_features).to(device)
        h = ResNetEncoder(
            in_channels=images.shape[1],
            width=config.encoder_width,
            hidden_features=32 * config.encoder_width,
            out_features=f.out_features,
        )
        self.h = h.to(device).train()
        self.ema = [copy.deepcopy(m) for m in (self.f, self.g, self.h)]
        self.optimizer = torch.optim.Adam([*self.f.parameters(), *self.g.parameters()], lr=1e-4, betas=(0.0, 0.999))
        self.encoder_optimizer = torch.optim.SGD(self.h.parameters(), lr=0.03, momentum=0.9, weight_decay=5e-4)
        self.buffer = torch.rand(config.buffer_size, *images.shape[1:], device=device)

    def chain(self, x):
        c = self.config
        for p in self.f.parameters():
            p.requires_grad_(False)
        for _ in range(c.mcmc_steps):
            x = x.detach().requires_grad_(True)
            energy = 0.5 * self.f(x).square().sum(-1)
            (grad,) = torch.autograd.grad(energy.sum(), x)
            x = (x - c.step_size * grad + c.noise * torch.randn_like(x)).clamp(0, 1)
        for p in self.f.parameters():
            p.requires_grad_(True)
        return x.detach()

    def iteration(self):
        c, b = self.config, self.config.batch_size
        rows = torch.randint(len(self.images), (b,))
        x_pos = (self.images[rows.to(self.device)].float() + torch.rand(b, *self.images.shape[1:], device=self.device)) / 256
        index = torch.randperm(len(self.buffer))[:b]
        x = self.buffer[index.to(self.device)]
        for i in range(b):
            if torch.rand(()) < c.restart_prob:
                x[i] = torch.rand_like(x[i])
        augment = AUGMENTS["simclr"]
        x_neg = self.chain(augment(x))
        self.buffer[index.to(self.device)] = x_neg
        f_pos, f_neg = self.f(x_pos), self.f(x_neg)
        u_pos, u_neg = self.g(f_pos), self.g(f_neg)
        with torch.no_grad():
            z = self.h(augment(x_pos))
        e_pos, e_neg = 0.5 * f_pos.square().sum(-1), 0.5 * f_neg.square().sum(-1)
        p1, p2 = self.h(torch.cat([augment(x_pos), augment(x_pos)])).chunk(2)
        loss = (e_pos - e_neg).mean() + (e_pos**2 + e_neg**2).mean() - c.beta * F.cosine_similarity(u_pos, z).mean()
        loss = loss + nt_xent(p1, p2, temperature=c.temperature, negatives=u_neg.detach())
        self.optimizer.zero_grad()
        self.encoder_optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.encoder_optimizer.step()
        with torch.no_grad():
            for average, net in zip(self.ema, (self.f, self.g, self.h), strict=True):
                for a, p in zip(average.parameters(), net.parameters(), strict=True):
                    a.mul_(c.ema).add_(p, alpha=1 - c.ema)
        return loss.item()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="tiny", choices=sorted(RESNETS))
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--mcmc-steps", type=int, default=3)
    parser.add_argument("--iterations", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--engines", nargs="+", default=["auto"], choices=("auto", "eager", "graph", "compile"))
    parser.add_argument("--precision", default="bf16", choices=("float32", "bf16"))
    parser.add_argument("--out", type=Path, help="write the table here as Markdown")
    parser.add_argument("--profile", action="store_true", help="also print the kernels that take the time")
    a = parser.parse_args()
    device = torch.device(a.device)
    prepare_device(device)
    preset = clel_preset("cifar10", "tiny" if a.network == "tiny" else "base")
    config = replace(
        preset,
        network=a.network,
        batch_size=a.batch_size,
        mcmc_steps=a.mcmc_steps,
        trunk=a.precision,
        buffer_size=max(a.batch_size, 10_000 if device.type == "cuda" else 64),
    )
    images = torch.randint(0, 256, (max(512, a.batch_size), 3, 32, 32), dtype=torch.uint8)
    labels = torch.zeros(len(images), dtype=torch.long)
    net = energy_resnet(a.network)
    f_flops = forward_flops(net, (3, 32, 32))
    encoder = ResNetEncoder(width=config.encoder_width, hidden_features=32 * config.encoder_width).eval()
    h_flops = forward_flops(encoder, (3, 32, 32))
    chain = a.batch_size * a.mcmc_steps * 2 * f_flops
    total = chain + 2 * a.batch_size * 3 * f_flops + 2 * a.batch_size * 3 * h_flops
    ceiling = matmul_ceiling(device, torch.bfloat16, 8192 if device.type == "cuda" else 512)
    name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    lines = [
        f"CLEL-{a.network}, batch {a.batch_size}, {a.mcmc_steps} steps, {name}, torch {torch.__version__}. Forward {f_flops / 1e9:.3f} GFLOP an image; "
        f"{total / 1e12:.3g} TFLOP an iteration, {100 * chain / total:.0f} % of them Langevin. Measured bf16 matmul ceiling {ceiling / 1e12:.3g} TFLOP/s.",
        "",
        "| loop | ms an iteration | ms in Langevin | share | TFLOP/s | of the ceiling | peak GiB |",
        "|---|---|---|---|---|---|---|",
    ]

    def row(label, whole, langevin):
        peak = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else float("nan")
        rate = total / whole
        lines.append(
            f"| {label} | {1e3 * whole:.1f} | {1e3 * langevin:.1f} | {100 * langevin / whole:.0f} % | {rate / 1e12:.3g} | {100 * rate / ceiling:.1f} % | {peak:.2f} |"
        )
        print(lines[-1], flush=True)

    def measure(engine):
        if device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        fabric = make_fabric(accelerator="cuda" if device.type == "cuda" else "cpu")
        chosen = replace(config, engine=engine)
        state = build_state(fabric, chosen, images, labels)
        steps = train_clel(fabric, state, chosen)
        began = time.perf_counter()
        for _ in range(3):
            next(steps)
        print(f"{engine}: first three iterations {time.perf_counter() - began:.1f} s", flush=True)
        whole = seconds_of(lambda: [next(steps) for _ in range(a.iterations)], 3, device) / a.iterations
        twin = baked_twin(state.ema.f, trunk_dtype=torch.bfloat16 if a.precision == "bf16" else None)
        runner = ChainRunner(FeatureNorm(twin), kernel_of(chosen), engine)
        x = torch.rand(a.batch_size, 3, 32, 32, device=device)
        runner.run(x, 2)
        row(f"ebmlearn, {engine}", whole, seconds_of(lambda: runner.run(x, a.mcmc_steps), 3, device))
        if a.profile:
            print_profile(f"20 Langevin steps, {engine}", lambda: runner.run(x, 20))
            print_profile(f"one iteration, {engine}", lambda: next(steps))
        return whole

    times = {engine: measure(engine) for engine in a.engines}
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        torch.backends.cudnn.allow_tf32 = True  # the default, which the published loop runs with
    port = PlainLoop(config, images.to(device), device)
    for _ in range(2):
        port.iteration()
    plain = seconds_of(port.iteration, max(3, a.iterations // 2), device)
    x = torch.rand(a.batch_size, 3, 32, 32, device=device)
    row("plain port of the paper's loop", plain, seconds_of(lambda: port.chain(x), 3, device))
    best = min(times, key=times.get)
    lines += ["", f"Ratio of the plain loop to ebmlearn ({best}): {plain / times[best]:.2f}x."]
    print("\n" + "\n".join(lines))
    if a.out:
        a.out.parent.mkdir(parents=True, exist_ok=True)
        a.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
