"""GRBM speed: one Gibbs-Langevin sweep and one CD update against the loop as it is written, in the same run, with the limit beside each row.

python -m benchmarks.grbm                     784 x 4096, batch 512, K = 10 on the CPU: the sweep, and CD-2
python -m benchmarks.grbm --device cuda       the same on a GPU: the sweep, and CD-100
python -m benchmarks.grbm --released PATH     adds the paper's released program from a checkout at PATH
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import statistics
import sys
import time
from pathlib import Path

import torch

from benchmarks.common import synchronise, table, write
from ebmlearn.energies import GaussianBernoulliRBM
from ebmlearn.samplers import GibbsLangevin, LoopedGibbsLangevin, sample
from ebmlearn.samplers.sweeps import Sweeps

RUN = 5  # sweeps a timing, so that what is done once an update does not count as if it were done once a sweep


@contextlib.contextmanager
def precision(name: str):
    """Scoped torch.set_float32_matmul_precision."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(name)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def interleaved(ways, repeats: int, clock) -> dict[str, float]:
    """Median seconds of each way; one warm-up each, then the ways in turn, so that a drifting machine hits all alike."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for fn in ways.values():
        fn()
    for _ in range(repeats):
        for name, fn in ways.items():
            synchronise()
            begin = clock()
            fn()
            synchronise()
            times[name].append(clock() - begin)
    return {name: statistics.median(v) for name, v in times.items()}


def matmul_ceiling(device: str, dtype: torch.dtype, n: int, clock) -> float:
    """Measured FLOP/s of an n x n matrix product on random data."""
    a, b = torch.randn(n, n, device=device, dtype=dtype), torch.randn(n, n, device=device, dtype=dtype)
    return 2 * n**3 / interleaved({"product": lambda: a @ b}, 10, clock)["product"]


def in_precision(name: str, fn):
    def call():
        with precision(name):
            return fn()

    return call


def looped_update(rbm, kernel, x, noise, k, generator):
    """CD-k as it is written: the inner loop, every state kept, the gradient over all of them at the end."""
    state = LoopedGibbsLangevin(kernel=kernel)
    states, position = [noise], state.init(rbm, noise)
    for _ in range(k):
        position, _ = state.step(rbm, position, generator=generator)
        states.append(position.x)
    positive, negative = rbm.gradients(x), rbm.gradients(torch.cat(states))
    return {name: positive[name] - negative[name] for name in positive}


def fast_update(sweeps, x, noise, k, generator, burn_in):
    positive = sweeps.statistics(x)
    _, negative = sweeps.run(noise, k, burn_in=burn_in, generator=generator)
    return {name: positive[name] - negative[name] for name in positive}


def released(path: Path, d: int, h: int, batch: int, k: int, device: str):
    """The released program's own sweep (its class GRBM in `grbm.py`), when a checkout is given."""
    found = [p for p in Path(path).rglob("grbm.py")]
    if not found:
        print(f"no grbm.py below {path}: that row is skipped")
        return None
    sys.path.insert(0, str(Path(path)))
    spec = importlib.util.spec_from_file_location("released_grbm", found[0])
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        model = module.GRBM(
            h, d, CD_step=1, Langevin_eta=20.0, Langevin_step=k, is_anneal_Langevin=True, inference_method="Gibbs-Langevin"
        ).to(device)
    except Exception as error:
        print(f"the released program could not be used ({type(error).__name__}: {error}): that row is skipped")
        return None
    v = torch.randn(batch, d, device=device)
    return lambda: model.Gibbs_Langevin_sampling(v, num_steps=RUN + 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--visible", type=int, default=784)
    parser.add_argument("--hidden", type=int, default=4096)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--inner", type=int, default=10)
    parser.add_argument("--cd", type=int, help="sweeps of the update (default 2 on a CPU, 100 on a GPU)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--released", type=Path)
    parser.add_argument("--out", default="")
    a = parser.parse_args()
    clock = time.perf_counter if a.device.startswith("cuda") else time.process_time
    if a.device == "cpu":
        torch.set_num_threads(1)  # processor seconds of one thread: what a shared machine cannot distort
    d, h, n, k = a.visible, a.hidden, a.batch, a.inner
    gpu = a.device.startswith("cuda")
    cd = a.cd or (100 if gpu else 2)
    torch.manual_seed(0)
    rbm = GaussianBernoulliRBM(d, h).to(a.device)
    kernel = GibbsLangevin(step_size=0.3, n_inner=k)
    x = torch.randn(n, d, device=a.device)
    noise = torch.randn(n, d, device=a.device)
    g = torch.Generator(a.device).manual_seed(0)
    unit = 2 * n * d * h
    top = {
        "float32": matmul_ceiling(a.device, torch.float32, 2048, clock),
        "bfloat16": matmul_ceiling(a.device, torch.bfloat16, 8192 if gpu else 2048, clock),
    }
    with precision("medium" if not gpu else "high"):
        top["fast float32"] = matmul_ceiling(a.device, torch.float32, 8192 if gpu else 2048, clock)
    exact = x[:64].double() @ rbm.W.double()
    error = {}
    for name, cast in (("default", lambda t: t), ("fast", lambda t: t), ("bfloat16", lambda t: t.bfloat16())):
        with precision(torch.get_float32_matmul_precision() if name != "fast" else "high" if gpu else "medium"), torch.no_grad():
            error[name] = float(((cast(x[:64]) @ cast(rbm.W)).double() - exact).norm() / exact.norm())
    engines = {p: Sweeps(rbm, kernel, products=p, graph=False, fuse=False) for p in ("float32", "bfloat16")}
    fast = "high" if gpu else "medium"
    sweep = {
        "loop": lambda: sample(rbm, LoopedGibbsLangevin(kernel=kernel), x, RUN, generator=g),
        f"loop ({fast})": in_precision(fast, lambda: sample(rbm, LoopedGibbsLangevin(kernel=kernel), x, RUN, generator=g)),
        "kernel": lambda: sample(rbm, kernel, x, RUN, generator=g),
        "sweeps, float32": lambda: engines["float32"].positions(x, RUN, generator=g),
        f"sweeps, float32 ({fast})": in_precision(fast, lambda: engines["float32"].positions(x, RUN, generator=g)),
        "sweeps, bfloat16": lambda: engines["bfloat16"].positions(x, RUN, generator=g),
    }
    extra = released(a.released, d, h, n, k, a.device) if a.released else None
    if extra is not None:
        sweep["released program"] = extra
    update = {
        "loop, every state": lambda: looped_update(rbm, kernel, x, noise, cd, g),
        f"loop, every state ({fast})": in_precision(fast, lambda: looped_update(rbm, kernel, x, noise, cd, g)),
        "every state, float32": lambda: fast_update(engines["float32"], x, noise, cd, g, 0),
        "last state, float32": lambda: fast_update(engines["float32"], x, noise, cd, g, None),
        f"last state, float32 ({fast})": in_precision(fast, lambda: fast_update(engines["float32"], x, noise, cd, g, None)),
        "every state, bfloat16": lambda: fast_update(engines["bfloat16"], x, noise, cd, g, 0),
        "last state, bfloat16": lambda: fast_update(engines["bfloat16"], x, noise, cd, g, None),
    }
    if gpu:
        for p in ("float32", "bfloat16"):
            for label, burn_in in (("every", 0), ("last", None)):
                engine = Sweeps(rbm, kernel, products=p)
                update[f"{label} state, {p}, one graph"] = lambda engine=engine, burn_in=burn_in: fast_update(
                    engine, x, noise, cd, g, burn_in
                )
    body = []
    for title, ways in ((f"One sweep, K = {k}", sweep), (f"One CD-{cd} update", update)):
        times = interleaved(ways, a.repeats, clock)
        times = {name: t / RUN for name, t in times.items()} if ways is sweep else times
        first = next(iter(times.values()))
        rows = []
        for name, t in times.items():
            if ways is sweep:
                units = 1 + k if name.startswith(("loop", "released")) else 2
            else:
                units = (
                    cd * (k + 1) + 3 * (cd + 1) + 3
                    if name.startswith("loop")
                    else 2 * cd + 2 + 3 + (cd if "every" in name else 1)
                )
            ceiling = top["bfloat16" if "bfloat16" in name else "fast float32" if fast in name else "float32"]
            floor = units * unit / ceiling
            rows.append(
                [name, f"{1e3 * t:.2f}", f"{first / t:.1f}x", str(units), f"{1e3 * floor:.2f}", f"{100 * floor / t:.0f} %"]
            )
        body.append(f"## {title}\n\n" + table(["way", "ms", "against the loop", "products", "floor, ms", "of the limit"], rows))
    ceilings = ", ".join(f"{name} {v / 1e9:.0f}" for name, v in top.items())
    note = (
        f"{d} x {h}, batch {n}. A product is {unit / 1e9:.2f} GFLOP; the floor is all products at the measured rate of a large one, in GFLOP/s: {ceilings}. "
        f"`{fast}` is `torch.set_float32_matmul_precision({fast!r})`, set for those rows alone. Relative errors of a product: default {error['default']:.1e}, {fast} {error['fast']:.1e}, bfloat16 {error['bfloat16']:.1e}. The loop multiplies by W in each of the K inner "
        "steps, as the algorithm is written; the fast ways draw the K steps as one. Times are medians, the ways in turn; a sweep is a fifth of five. "
        + ("Times are processor seconds of one thread. " if not gpu else "")
        + "It is a loop of ours, not the released program, that stands beside"
        + ("." if extra is None else "; the released program has its own row.")
    )
    command = "python -m benchmarks.grbm" + ("" if a.device == "cpu" else f" --device {a.device}")
    write(
        a.out or ("grbm_gpu" if gpu else "grbm"),
        "Gaussian-Bernoulli RBM: sweeps and updates",
        note + "\n\n" + "\n\n".join(body),
        command,
    )


if __name__ == "__main__":
    main()
