"""What a training iteration costs: FLOPs, bytes, launches, memory and seconds of every preset, counted on shapes alone, beside what was measured.

python -m benchmarks.cost            # the tables -> benchmarks/cost.md; this machine's CPU is measured, a GPU is not needed
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.common import table, write
from ebmlearn.energies.spherical import FeatureNorm, SphericalJoint
from ebmlearn.networks.encoder import ResNetEncoder
from ebmlearn.networks.resnet import RESNETS, baked_twin, energy_resnet, projection
from ebmlearn.networks.unet import StepEncoder, UNet
from ebmlearn.training.clel_model import ClelConfig, clel_preset
from ebmlearn.training.game import LARGE, PRESETS, GcdConfig
from ebmlearn.training.rbm import RBMConfig, rbm_preset

SIDE, CHANNELS, IMAGES = 32, 3, 50_000  # CIFAR-10
PIXELS = CHANNELS * SIDE * SIDE
NO_WORK = ("empty", "new_empty", "empty_like", "empty_strided", "detach", "lift_fresh")


@dataclass(frozen=True)
class Device:
    """What a device can do. Measured on the H100: `matmul` (benchmarks/clel.md), `efficiency` and `launch` (its profile); the others are data-sheet numbers."""

    name: str
    matmul: float  # FLOP/s of a large product in bfloat16
    bandwidth: float  # bytes/s of memory
    efficiency: float = 0.46  # of the convolutions, against `matmul`
    launch: float = 15.5e-3 / 1586  # seconds to launch a kernel
    link: float = 450e9  # bytes/s between devices, one way


H100 = Device("H100", 791e12, 3.35e12)


@dataclass(frozen=True)
class Count:
    """FLOPs (2 a multiply-add), bytes that other operations than products move, kernel launches, bytes kept for the backward pass."""

    flops: float = 0.0
    bytes: float = 0.0
    launches: float = 0.0
    saved: float = 0.0

    def __add__(self, other: Count) -> Count:
        return Count(self.flops + other.flops, self.bytes + other.bytes, self.launches + other.launches, self.saved + other.saved)

    def again(self, n: float) -> Count:
        """n of them one after the other; nothing more is kept."""
        return Count(n * self.flops, n * self.bytes, n * self.launches, self.saved)


class Ops(TorchDispatchMode):
    """Counts the operations that do work and the bytes that those other than products read and write."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0.0
        self.launches = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if func.is_view or name in NO_WORK:
            return out
        self.launches += 1
        if not any(word in name for word in ("convolution", "mm", "matmul", "attention")):
            flat = torch.utils._pytree.tree_leaves((args, kwargs, out))
            self.bytes += sum(t.nbytes for t in flat if isinstance(t, Tensor))
        return out


def count(fn: Callable[[], object]) -> Count:
    """What one call does; tensors may be on the meta device, where nothing is computed."""
    kept: dict[int, int] = {}

    def pack(t: Tensor) -> Tensor:
        if not isinstance(t, nn.Parameter):
            kept[t.untyped_storage()._cdata] = t.untyped_storage().nbytes()
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t), FlopCounterMode(display=False) as flops, Ops() as ops:
        fn()
    return Count(float(flops.get_total_flops()), ops.bytes, float(ops.launches), float(sum(kept.values())))


def at(make: Callable[[int], Callable[[], object]], n: int, *, low: int = 2) -> Count:
    """What a batch of n does, from two small batches: what belongs to the weights is there once, what belongs to an image n times."""
    a, b = count(make(low)), count(make(low + 1))

    def line(x: float, y: float) -> float:
        return x + (n - low) * (y - x)

    return Count(line(a.flops, b.flops), line(a.bytes, b.bytes), a.launches, line(a.saved, b.saved))


# --- by hand -------------------------------------------------------------------------------------------------------------


def conv(c_in: int, c_out: int, side: int, k: int = 3) -> int:
    """2 c_in c_out k² side²: a convolution that keeps the resolution."""
    return 2 * c_in * c_out * k * k * side * side


def resnet_flops(size: str, *, channels: int = CHANNELS, side: int = SIDE) -> int:
    """A forward pass of `energy_resnet(size)`, written out."""
    shape = RESNETS[size]
    stages: tuple[tuple[int, int], ...] = shape["stages"]  # type: ignore[assignment]
    towers, hidden, out = (
        int(shape.get("towers", 1)),
        int(shape.get("hidden_features", 2048)),
        int(shape.get("out_features", 128)),
    )  # type: ignore[call-overload]
    total = 0
    for t in range(towers):
        s, width = side >> t, stages[0][0]
        total += conv(channels, width, s)
        for i, (c, depth) in enumerate(stages):
            s = s // 2 if i else s
            for _ in range(depth):
                total += conv(width, c, s) + conv(c, c, s) + (conv(width, c, s, 1) if width != c else 0)
                width = c
    return total + 2 * (towers * stages[-1][0] * hidden + hidden * out)


def encoder_flops(width: int, hidden: int, out: int, *, channels: int = CHANNELS, side: int = SIDE) -> int:
    """A forward pass of `ResNetEncoder`, written out."""
    total, c_in = conv(channels, width, side), width
    for stage in range(4):
        c, s = width * 2**stage, side >> stage
        first = conv(c_in, c, s) + (conv(c_in, c, s, 1) if stage else 0)
        total += first + 3 * conv(c, c, s)
        c_in = c
    return total + 2 * (c_in * hidden + hidden * out)


def unet_flops(width: int, multipliers: tuple[int, ...], blocks: int, *, channels: int = CHANNELS, side: int = SIDE) -> int:
    """A forward pass of `UNet`, written out."""
    e = 4 * width

    def block(a: int, b: int, s: int) -> int:
        return conv(a, b, s) + conv(b, b, s) + 2 * e * b + (conv(a, b, s, 1) if a != b else 0)

    total, current, skips, s = 2 * (width * e + e * e) + conv(channels, width, side), width, [width], side
    for i, m in enumerate(multipliers):
        for _ in range(blocks):
            total += block(current, width * m, s)
            current = width * m
            skips.append(current)
        if i < len(multipliers) - 1:
            s //= 2
            total += conv(current, current, s)
            skips.append(current)
    pixels = s * s
    total += 2 * block(current, current, s) + conv(current, 4 * current, s, 1) + 2 * 2 * pixels * pixels * current
    for i, m in reversed(list(enumerate(multipliers))):
        for _ in range(blocks + 1):
            total += block(current + skips.pop(), width * m, s)
            current = width * m
        if i:
            s *= 2
            total += conv(current, current, s)
    return total + conv(current, channels, s)


def rbm_flops(n_visible: int, n_hidden: int, batch: int, chains: int, sweeps: int, *, every_state: bool) -> int:
    """The products of one CD update: data, two a sweep, and the gradients of the states that count."""
    unit = 2 * n_visible * n_hidden
    data = 3 * batch  # logits, W z, and dW
    states = sweeps + 1 if every_state else 1
    return unit * (data + chains * (1 + 2 * sweeps + states + (0 if every_state else 2)))


# --- recipes -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cost:
    """One iteration: what is captured in a graph (no launches), what is not, and what lies in memory."""

    captured: Count
    rest: Count
    parameters: int
    resident: float  # bytes that stay: weights, gradients, moments, averages, buffer, data
    active: float  # bytes that the largest phase keeps at its peak
    plain_products: bool = False  # matrix products, which reach the ceiling; convolutions do not

    @property
    def flops(self) -> float:
        return self.captured.flops + self.rest.flops

    @property
    def bytes(self) -> float:
        return self.captured.bytes + self.rest.bytes

    def seconds(self, device: Device, *, ceiling: float = 1.0) -> float:
        """Products at the convolutions' share of the ceiling, other bytes at the bandwidth; outside a graph never faster than the launches."""
        rate = device.matmul * ceiling * (1.0 if self.plain_products else device.efficiency)

        def work(c: Count) -> float:
            return c.flops / rate + c.bytes / device.bandwidth

        return work(self.captured) + max(work(self.rest), self.rest.launches * device.launch)

    def reduce(self, device: Device, n: int) -> float:
        """Seconds of averaging the gradients of n processes by a ring."""
        return 2 * (n - 1) / n * 4 * self.parameters / device.link

    @property
    def memory(self) -> float:
        return self.resident + self.active


def _backward(module: nn.Module, *inputs: Tensor) -> Callable[[], object]:
    def run() -> None:
        out = module(*inputs)
        parts = out if isinstance(out, tuple) else (out,)
        torch.stack([p.float().sum() for p in parts]).sum().backward()

    return run


def parameters_of(*modules: nn.Module) -> int:
    return sum(p.numel() for m in modules for p in m.parameters())


def clel_cost(config: ClelConfig, *, batch: int | None = None, side: int = SIDE, channels: int = CHANNELS) -> Cost:
    """CLEL: `mcmc_steps` input gradients of f on the chains, one update of f and g on data and chains, one of the encoder on two views."""
    b = config.batch_size if batch is None else batch
    dtype = torch.bfloat16 if config.trunk == "bf16" else torch.float32
    with torch.device("meta"):
        f = energy_resnet(config.network, in_channels=channels, trunk_dtype=None if dtype == torch.float32 else dtype)
        joint = SphericalJoint(f, projection(f.out_features, hidden_features=config.project_features), beta=config.beta)
        h = ResNetEncoder(
            in_channels=channels,
            width=config.encoder_width,
            hidden_features=32 * config.encoder_width,
            out_features=f.out_features,
        )
    twin = FeatureNorm(baked_twin(f, trunk_dtype=None if dtype == torch.float32 else dtype))

    def chain(x: Tensor) -> None:
        leaf = x.requires_grad_(True)
        twin(leaf).sum().backward()  # the parameters are frozen: the gradient of the input alone
        assert leaf.grad is not None
        (leaf.detach() - 0.1 * leaf.grad + 0.1 * torch.empty_like(leaf).normal_()).clamp(0, 1)

    def images(n: int) -> Tensor:
        return torch.empty(n, channels, side, side, device="meta")

    step = at(lambda n: lambda: chain(images(n)), b)
    update = at(lambda n: _backward(_Parts(joint), images(n)), 2 * b)
    encoder = Count()
    if config.encoder != "none":
        h.to(dtype)
        encoder = at(lambda n: _backward(h, images(n).to(dtype)), 2 * b)
    p, q = parameters_of(joint), parameters_of(h) if config.encoder != "none" else 0
    other = Count(bytes=4 * (9 * p + 7 * q), launches=0)  # Adam, SGD and averages read and write every parameter
    captured = step.again(config.mcmc_steps)
    rest = update + encoder + other
    pixels = channels * side * side
    resident = 4 * (5 * p + q * 4) + 2 * p + config.buffer_size * (4 * pixels + 8) + IMAGES * pixels
    active = max(step.saved, update.saved + encoder.saved)
    return Cost(Count(captured.flops, captured.bytes, 0, captured.saved), rest, p + q, resident, active)


class _Parts(nn.Module):
    def __init__(self, joint: SphericalJoint) -> None:
        super().__init__()
        self.joint = joint

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.joint.parts(x)


def gcd_cost(config: GcdConfig, phase: str, *, batch: int | None = None, side: int = SIDE, channels: int = CHANNELS) -> Cost:
    """GCD on images: "pretrain", one denoising update; or "game", by back-propagation through the T steps: two paths to look at, one to learn from."""
    b = batch or (config.pretrain_batch_size if phase == "pretrain" else config.batch_size)
    with torch.device("meta"):
        net = UNet(channels=channels, width=config.width, multipliers=config.multipliers, n_blocks=config.blocks)
        energy = StepEncoder(channels=channels, width=config.energy_width, halvings=len(config.multipliers) - 1)
        k = torch.zeros(1, dtype=torch.long)
    p, q = parameters_of(net), parameters_of(energy)

    def images(n: int) -> Tensor:
        return torch.empty(n, channels, side, side, device="meta")

    def look(x: Tensor) -> None:
        with torch.no_grad():
            net(x, k)

    update = at(lambda n: _backward(net, images(n), k), b)
    other = Count(bytes=4 * 9 * p)
    if phase == "pretrain":
        rest, active = update + other, update.saved
    else:
        t, often = config.sampler_steps, config.sampler_updates
        looks = at(lambda n: lambda: look(images(n)), b).again(t * (1 + often))
        critic = at(lambda n: _backward(energy, images(n)), 2 * b) + at(lambda n: _backward(energy, images(n)), b).again(often)
        rest = looks + update.again(t * often) + critic + other + Count(bytes=4 * 9 * q)
        active = t * update.saved
    resident = 4 * (7 * p + 7 * q) + IMAGES * 4 * channels * side * side  # two Adams on the sampler
    return Cost(Count(), rest, p + q, resident, active)


def rbm_cost(config: RBMConfig, *, n_visible: int = PIXELS) -> Cost:
    """GRBM: the products of an update, captured sweep by sweep."""
    every = config.burn_in is not None and config.burn_in < config.sweeps
    flops = rbm_flops(n_visible, config.n_hidden, config.batch_size, config.n_chains, config.sweeps, every_state=every)
    width = 2 if config.products == "bfloat16" else 4
    moved = config.n_chains * config.sweeps * (6 * config.n_hidden * width + 10 * n_visible * width)
    p = n_visible * config.n_hidden
    captured = Count(flops=flops, bytes=moved + config.sweeps * 2 * p * width)
    resident = 4 * (3 if config.optimizer == "sgd" else 4) * p + IMAGES * 4 * n_visible
    return Cost(captured, Count(bytes=4 * 5 * p), p, resident, 4 * config.n_chains * (n_visible + config.n_hidden) * 4, True)


def gcd_of(preset: str) -> GcdConfig:
    """The CIFAR-10 settings of a preset, without reading the data."""
    return replace(LARGE, data="cifar10", **PRESETS["images"][preset])


# --- tables --------------------------------------------------------------------------------------------------------------


# (what, milliseconds, cost, share of the bfloat16 ceiling that its products could reach): measured on one H100, see the named file
def measured() -> list[tuple[str, float, Cost, float, str]]:
    base = clel_preset("cifar10", "base")
    fashion = replace(LARGE, data="fashion_mnist")
    grbm = replace(rbm_preset("mnist", "large"), n_hidden=4096)
    exact = replace(grbm, products="float32")
    grey = {"side": 28, "channels": 1}
    return [
        ("CLEL-Base, batch 64, graph", 122.9, clel_cost(base), 1.0, "clel.md"),
        ("CLEL-Base, batch 64, compile", 83.9, clel_cost(base), 1.0, "clel.md"),
        (
            "GCD, Fashion-MNIST, denoising, batch 256, TF32",
            1e3 * 128.8 / 2237,
            gcd_cost(fashion, "pretrain", **grey),
            0.5,
            "gcd_fashion.md",
        ),
        (
            "GCD, Fashion-MNIST, game, batch 128, T = 10, TF32",
            1e3 * 169.5 / 239,
            gcd_cost(fashion, "game", **grey),
            0.5,
            "gcd_fashion.md",
        ),
        ("GRBM 784 x 4096, CD-100, bfloat16, one graph", 5.71, rbm_cost(grbm, n_visible=784), 1.0, "grbm_gpu.md"),
        ("GRBM 784 x 4096, CD-100, float32, one graph", 19.61, rbm_cost(exact, n_visible=784), 47084 / 791e3, "grbm_gpu.md"),
    ]


def presets() -> list[tuple[str, Cost, Callable[[], Cost], int, float]]:
    """(name, cost on one device, its share on each of eight, updates of the run, share of the ceiling)."""
    rows: list[tuple[str, Cost, Callable[[], Cost], int, float]] = []
    for name in ("tiny", "small", "base", "large"):
        c = clel_preset("cifar10", name)
        share = replace(c, buffer_size=c.buffer_size // 8)
        rows.append((f"clel {name}", clel_cost(c), lambda s=share: clel_cost(s, batch=s.batch_size // 8), c.steps, 1.0))
    for name in ("tiny", "small", "default", "base", "large"):
        g = gcd_of(name)
        for phase, steps, size in (("pretrain", g.pretrain_steps, g.pretrain_batch_size), ("game", g.steps, g.batch_size)):
            rows.append(
                (
                    f"gcd {name}, {phase}",
                    gcd_cost(g, phase),
                    lambda g=g, p=phase, n=size: gcd_cost(g, p, batch=n // 8),
                    steps,
                    0.5,
                )
            )
    for name in ("small", "paper", "large"):
        r = rbm_preset("cifar10", name)
        part = replace(r, batch_size=r.batch_size // 8, n_chains=r.n_chains // 8)
        rows.append(
            (f"rbm {name}", rbm_cost(r), lambda p=part: rbm_cost(p), r.steps, 1.0 if r.products == "bfloat16" else 47084 / 791e3)
        )
    return rows


def cpu_rate(repeats: int = 3) -> float:
    """FLOP/s of the small network's chain step, batch 8, float32, one thread of this machine."""
    net = energy_resnet("small").requires_grad_(False)
    x = torch.rand(8, CHANNELS, SIDE, SIDE)

    def step() -> None:
        leaf = x.clone().requires_grad_(True)
        torch.autograd.grad(0.5 * net(leaf).square().sum(), leaf)

    step()
    spent = []
    for _ in range(repeats):
        begin = time.process_time()
        step()
        spent.append(time.process_time() - begin)
    return 2 * 8 * resnet_flops("small") / min(spent)


def cpu_iteration(config: ClelConfig, iterations: int = 3) -> float:
    """CPU seconds of an iteration of CLEL on noise images."""
    from ebmlearn.training.clel import build_state, train_clel
    from ebmlearn.training.state import make_fabric

    x = torch.randint(0, 256, (64, CHANNELS, SIDE, SIDE), dtype=torch.uint8)
    fabric = make_fabric()
    steps = train_clel(fabric, build_state(fabric, config, x, torch.zeros(64, dtype=torch.long)), config)
    next(steps)
    begin = time.process_time()
    for _ in range(iterations):
        next(steps)
    return (time.process_time() - begin) / iterations


def gib(n: float) -> str:
    return f"{n / 2**30:.2f}"


def report(rate: float, cpu_rows: list[list[str]]) -> str:
    """The page."""
    first = []
    for name, cost, eighth, steps, ceil in presets():
        one = cost.seconds(H100, ceiling=ceil)
        part = eighth()
        eight = part.seconds(H100, ceiling=ceil) + part.reduce(H100, 8)
        first.append(
            [
                name,
                f"{cost.parameters / 1e6:.2f}",
                f"{cost.flops / 1e12:.3g}",
                f"{cost.bytes / 1e9:.3g}",
                f"{1e3 * cost.flops / (H100.matmul * ceil):.3g}",
                f"{1e3 * one:.3g}",
                f"{1e3 * eight:.3g}",
                f"{cost.flops / rate:.3g}",
                gib(cost.memory),
                f"{one * steps / 3600:.3g}",
            ]
        )
    second = []
    for what, ms, cost, ceil, where in measured():
        floor, said = 1e3 * cost.flops / (H100.matmul * ceil), 1e3 * cost.seconds(H100, ceiling=ceil)
        second.append([what, f"{ms:.1f}", f"{said:.1f}", f"{said / ms:.2f}", f"{floor:.2f}", f"{100 * floor / ms:.0f} %", where])
    ratios = [float(row[1]) / float(row[2]) for row in second]
    base = clel_preset("cifar10", "base")
    third = []
    for what, change in (
        ("CLEL-Base", base),
        ("batch 128", replace(base, batch_size=128)),
        ("batch 256", replace(base, batch_size=256)),
        ("120 steps", replace(base, mcmc_steps=120)),
        ("buffer 50,000", replace(base, buffer_size=50_000)),
        ("float32", replace(base, trunk="float32")),
    ):
        c = clel_cost(change)
        third.append([what, gib(c.resident), gib(c.active), gib(c.memory), f"{c.flops / 1e12:.3g}"])
    default = gcd_of("default")
    for what, t in (("gcd default, game, T = 5", 5), ("T = 10", 10), ("T = 20", 20)):
        c = gcd_cost(replace(default, sampler_steps=t), "game")
        third.append([what, gib(c.resident), gib(c.active), gib(c.memory), f"{c.flops / 1e12:.3g}"])
    return "\n\n".join(
        [
            "FLOPs and bytes are counted by running each network on shapes alone (`torch.device('meta')`) and composed by the recipe; "
            "`tests/test_cost.py` holds the counts against formulas written by hand and against iterations that are really run. CIFAR-10, 32 x 32 x 3.",
            "## One iteration of each preset",
            table(
                [
                    "preset",
                    "10⁶ parameters",
                    "TFLOP",
                    "GB moved",
                    "H100 floor, ms",
                    "H100, ms",
                    "8 x H100, ms",
                    "one CPU core, s",
                    "GiB",
                    "hours, one H100",
                ],
                first,
            ),
            "*GB moved* is what operations other than products read and write, each for itself, as without fusion. *Floor*: all products at the measured ceiling of "
            f"{H100.matmul / 1e12:.0f} TFLOP/s in bfloat16 (GCD: half of it, TF32; GRBM in float32: the measured 47 TFLOP/s). *H100*: convolutions at {H100.efficiency:.0%} of the "
            f"ceiling, as in the profile of [clel.md](clel.md), the products of the RBM at all of it; other bytes at {H100.bandwidth / 1e12:.2f} TB/s; what is not captured in a graph not faster than "
            f"{1e6 * H100.launch:.1f} µs a launch. *8 x H100*: the same global batch in eight parts, and a ring of float32 gradients at {H100.link / 1e9:.0f} GB/s. Bandwidth and link are data-sheet "
            "numbers, and **nothing was run on eight GPUs**: that column is owed, by `ebmlearn train clel --data cifar10 --preset base --accelerator cuda --devices 8 --out runs/eight`. "
            f"*One CPU core*: FLOPs at the {rate / 1e9:.3g} GFLOP/s that this machine's core reached on the small network.",
            "## Against what was measured on one H100",
            table(["run", "measured, ms", "model, ms", "model / measured", "floor, ms", "floor / measured", "from"], second),
            "The efficiency and the launch time come from the profile of the second row, so that row is no independent check; the others are. The model leaves out what is not "
            f"counted (latency of small dependent kernels, copies between layouts, the host), so it is a bound from below: runs took {min(ratios):.1f} to {max(ratios):.1f} times as long. "
            "GCD is farthest from it: its networks run in TF32 and channel by channel (NCHW), which the convolutions of CLEL do not.",
            "## Against this CPU",
            "One thread, CPU seconds. Small networks pay for the calls as well as for the products.",
            table(["CLEL iteration", "GFLOP", "model, CPU s", "measured, CPU s", "model / measured"], cpu_rows),
            "## How memory grows",
            table(["setting", "resident GiB", "active GiB", "together", "TFLOP"], third),
            "*Resident*: weights, gradients, optimiser moments, averages, the replay buffer (12 KiB an image) and the data set. *Active*: what the backward pass of the largest phase "
            "keeps. It grows with the batch; not with the Langevin steps, each of which frees its own; with T of GCD's back-propagation through time; the buffer costs memory and no time. "
            "CLEL-Base on 512 images instead of 50,000 was measured at a peak of 1.52 GiB ([clel.md](clel.md)); the model says "
            f"{gib(clel_cost(base).memory - (IMAGES - 512) * PIXELS)}. GCD on Fashion-MNIST, batch 128, T = 10: measured 19.4, model "
            f"{gib(gcd_cost(replace(LARGE, data='fashion_mnist'), 'game', side=28, channels=1).memory)}.",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="print only, with one measurement of the CPU")
    a = parser.parse_args()
    torch.set_num_threads(1)
    rate = cpu_rate(1 if a.quick else 5)
    rows = []
    for name in ("tiny",) if a.quick else ("tiny", "small"):
        config = replace(clel_preset("cifar10", name), trunk="float32", engine="eager", buffer_size=64)
        if name == "small":
            config = replace(config, batch_size=8, mcmc_steps=5, encoder_width=16)
        spent, flops = cpu_iteration(config), clel_cost(config).flops
        label = f"{name}, batch {config.batch_size}, {config.mcmc_steps} steps, encoder width {config.encoder_width}, float32"
        rows.append([label, f"{flops / 1e9:.3g}", f"{flops / rate:.3g}", f"{spent:.3g}", f"{flops / rate / spent:.2f}"])
    body = report(rate, rows)
    if a.quick:
        print(body)
    else:
        write("cost", "What a training iteration costs", body, "python -m benchmarks.cost")


if __name__ == "__main__":
    main()
