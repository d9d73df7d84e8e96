"""ULA, MALA and HMC beside TorchEBM and BlackJAX, on a Gaussian and an MLP energy: `python -m benchmarks.langevin`.

All ways run in turn in one process with the same energies, step sizes and numbers of steps; nothing is stored, warm-up
and compilation are excluded. Peers that are not installed are skipped with a line that says so (`pip install ebmlearn[bench]`).
"""

from __future__ import annotations

import argparse
import os
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from ebmlearn.energies import Energy, Gaussian
from ebmlearn.samplers import HMC, MALA, Langevin, sample

from .common import interleaved, matmul_ceiling, table, write

WIDTH = 128
COVARIANCE = [[1.0, 0.6], [0.6, 2.0]]
ETA, EPSILON, LEAPFROG = 0.05, 0.2, 10


class Network(Energy):
    """E(x) = f(x) + |x|²/2 with an MLP 2-128-128-1 (SiLU)."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(2, WIDTH), nn.SiLU(), nn.Linear(WIDTH, WIDTH), nn.SiLU(), nn.Linear(WIDTH, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x).squeeze(-1) + 0.5 * x.square().sum(-1)


def ours(
    energy: Energy, kernel: Any, chains: int, steps: int, *, compile: bool = False, precision: str = "highest"
) -> Callable[[], object]:
    x = torch.randn(chains, 2)

    def go() -> object:
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision(precision)
        try:
            return sample(energy, kernel, x, steps, generator=torch.Generator().manual_seed(0), compile=compile)
        finally:
            torch.set_float32_matmul_precision(before)

    return go


def torchebm_way(energy: Energy, kind: str, chains: int, steps: int) -> Callable[[], object] | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from torchebm.core import BaseModel, GaussianModel
            from torchebm.samplers import HamiltonianMonteCarlo, LangevinDynamics
    except ImportError:
        return None

    class Wrapped(BaseModel):
        def __init__(self) -> None:
            super().__init__()
            self.inner = energy

        def forward(self, x: torch.Tensor, **_: Any) -> torch.Tensor:
            return self.inner(x)

    model = GaussianModel(mean=torch.zeros(2), cov=torch.tensor(COVARIANCE)) if isinstance(energy, Gaussian) else Wrapped()
    if kind == "ULA":
        sampler = LangevinDynamics(model=model, step_size=ETA)
    elif kind == "HMC":
        sampler = HamiltonianMonteCarlo(model=model, step_size=EPSILON, n_leapfrog_steps=LEAPFROG)
    else:
        return None
    x = torch.randn(chains, 2)
    return lambda: sampler.sample(x=x, n_steps=steps)


def blackjax_way(energy: Energy, kind: str, chains: int, steps: int) -> Callable[[], object] | None:
    try:
        import blackjax
        import jax
        import jax.numpy as jnp
    except ImportError:
        return None
    if isinstance(energy, Gaussian):
        precision = jnp.linalg.inv(jnp.array(COVARIANCE))

        def logdensity(x: Any) -> Any:
            return -0.5 * x @ precision @ x
    else:
        assert isinstance(energy, Network)
        layers = [m for m in energy.net if isinstance(m, nn.Linear)]
        weights = [(jnp.array(m.weight.detach().numpy()), jnp.array(m.bias.detach().numpy())) for m in layers]

        def logdensity(x: Any) -> Any:
            h = x
            for i, (w, b) in enumerate(weights):
                h = w @ h + b
                h = jax.nn.silu(h) if i < len(weights) - 1 else h
            return -h[0] - 0.5 * x @ x

    if kind == "ULA":
        grad = jax.grad(logdensity)
        kernel = blackjax.sgld(lambda x, _: grad(x))

        def one(state: Any, key: Any) -> Any:
            return kernel.step(key, state, 0, ETA)

        init = lambda x: x
    else:
        algorithm = (
            blackjax.mala(logdensity, ETA)
            if kind == "MALA"
            else blackjax.hmc(logdensity, EPSILON, inverse_mass_matrix=jnp.ones(2), num_integration_steps=LEAPFROG)
        )
        init = jax.vmap(algorithm.init)

        def one(state: Any, key: Any) -> Any:
            return algorithm.step(key, state)[0]

    start = init(jnp.array(torch.randn(chains, 2).numpy()))

    @jax.jit
    def loop(state: Any, key: Any) -> Any:
        def body(s: Any, k: Any) -> Any:
            return jax.vmap(one)(s, jax.random.split(k, chains)), None

        return jax.lax.scan(body, state, jax.random.split(key, steps))[0]

    key = jax.random.PRNGKey(0)
    return lambda: jax.block_until_ready(loop(start, key))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chains", type=int, nargs="+", default=[1000, 10000])
    parser.add_argument("--steps", type=int, default=100, help="Langevin steps a timing; HMC takes a tenth of it as proposals")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--name", default="langevin", help="the table is benchmarks/NAME.md")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    energies = {"Gaussian": Gaussian(torch.zeros(2), torch.tensor(COVARIANCE)), "MLP": Network()}
    kernels = {"ULA": Langevin(step_size=ETA), "MALA": MALA(step_size=ETA), "HMC": HMC(step_size=EPSILON, n_leapfrog=LEAPFROG)}
    ceiling = matmul_ceiling()
    rows, missing = [], set()
    for label, energy in energies.items():
        for kind, kernel in kernels.items():
            for chains in args.chains:
                steps = args.steps if kind != "HMC" else max(args.steps // 10, 1)
                ways: dict[str, Callable[[], object]] = {"ebmlearn": ours(energy, kernel, chains, steps)}
                if label == "MLP":
                    ways["compiled"] = ours(energy, kernel, chains, steps, compile=True)
                    ways["compiled, medium"] = ours(energy, kernel, chains, steps, compile=True, precision="medium")
                for name, way in (("TorchEBM", torchebm_way), ("BlackJAX", blackjax_way)):
                    peer = way(energy, kind, chains, steps)
                    if peer is not None:
                        ways[name] = peer
                    elif not (name == "TorchEBM" and kind == "MALA"):
                        missing.add(name)
                t = {k: v / steps * 1e3 for k, v in interleaved(ways, repeats=args.repeats).items()}
                best = min(v for k, v in t.items() if k not in ("TorchEBM", "BlackJAX"))
                gradients = LEAPFROG if kind == "HMC" else 1
                flops = 6 * chains * (2 * WIDTH + WIDTH * WIDTH + WIDTH) * gradients if label == "MLP" else 0
                limit = f"{flops / ceiling * 1e3:.3g}" if flops else "-"

                def cell(name: str, t: dict[str, float] = t) -> str:
                    return f"{t[name]:.3g}" if name in t else "-"

                def ratio(name: str, t: dict[str, float] = t, best: float = best) -> str:
                    return f"{t[name] / best:.2f}" if name in t else "-"

                row = [
                    label,
                    kind,
                    str(chains),
                    *(cell(n) for n in ("ebmlearn", "compiled", "compiled, medium", "TorchEBM", "BlackJAX")),
                ]
                rows.append([*row, ratio("TorchEBM"), ratio("BlackJAX"), limit])
                print(rows[-1], flush=True)
    header = ["energy", "kernel", "chains", "ebmlearn", "compiled", "compiled, medium", "TorchEBM", "BlackJAX",
              "TorchEBM / best", "BlackJAX / best", "limit"]  # fmt: skip
    notes = (
        f"Milliseconds a step (a proposal of {LEAPFROG} leapfrog steps for HMC), median of {args.repeats} runs in turn. "
        "`best` is the fastest of our columns; a ratio above 1 means that we are faster. `compiled` is `sample(..., compile=True)`; "
        "`medium` adds `torch.set_float32_matmul_precision('medium')`, chosen by the caller. The limit is the MLP's 6 multiply-add "
        f"passes over the measured float32 matrix product, {ceiling / 1e9:.0f} GFLOP/s. The Gaussian's gradient is closed-form in ours and in neither peer."
    )
    if missing:
        notes += f" Not installed here, so not timed: {', '.join(sorted(missing))} (`pip install ebmlearn[bench]`)."
    write(args.name, "Langevin, MALA and HMC", table(header, rows) + "\n\n" + notes, "python -m benchmarks.langevin")


if __name__ == "__main__":
    main()
