"""Composition that can be checked: AND and NOT of shape and colour latents on sprites, read by template correlation.

python -m experiments.sprites --seeds 0 1 2 --out data/results/clel_sprites
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import torch.nn.functional as F

from ebmlearn.datasets.augment import AUGMENTS, dequantise_bytes
from ebmlearn.datasets.sprites import read, sprites
from ebmlearn.training.ablate import Table
from ebmlearn.training.clel import model_of, run_clel
from ebmlearn.training.clel_model import clel_preset
from ebmlearn.training.state import RunOptions

VALID = 0.8  # correlation above which an image counts as a sprite


def attribute_latents(model, *, n=2000, views=4, seed=0):
    """Mean latent of each shape and each colour minus the grand mean, normalised: `[4, d]`, `[3, d]`."""
    g = torch.Generator().manual_seed(seed)
    x, shape, colour = sprites(n, generator=g)
    augment = AUGMENTS[model.config.views]
    images = dequantise_bytes(x, generator=g)
    z = torch.stack([model.latents(augment(images, generator=g)) for _ in range(views)]).mean(0)
    centre = z.mean(0)
    return tuple(
        F.normalize(torch.stack([z[a == k].mean(0) for k in range(m)]) - centre, dim=-1) for a, m in ((shape, 4), (colour, 3))
    )


def composed(model, buffer, w, *, each=10, steps=60, seed=0):
    """Shares of composed samples that are right and that are sprites, for one weight."""
    zs, zc = attribute_latents(model, seed=seed)
    shape, colour = (
        t.reshape(-1) for t in torch.meshgrid(torch.arange(4).repeat_interleave(each), torch.arange(3), indexing="ij")
    )
    start = buffer[torch.randperm(len(buffer), generator=torch.Generator().manual_seed(seed))[: len(shape)]]
    out = {}
    for name, terms in {
        "none": [],
        "shape": [(zs[shape], w)],
        "and": [(zs[shape], w), (zc[colour], w)],
        "colour_not_shape": [(zc[colour], w), (zs[shape], -w)],
        "shape_not_colour": [(zs[shape], w), (zc[colour], -w)],
    }.items():
        g = torch.Generator().manual_seed(seed + 1)
        r = read(model.sample(len(shape), terms=terms, start=start, rounds=2, steps=steps, generator=g))
        right_shape, right_colour = r.shape == shape, r.colour == colour
        found = {"shape": right_shape, "colour": right_colour, "both": right_shape & right_colour, "valid": r.correlation > VALID}
        found["both_valid"] = found["both"] & found["valid"]
        out |= {f"{name}_{k}": float(v.double().mean()) for k, v in found.items()}
    return out


def one(job):
    """One run: (network, steps, K, seed, weights) -> rows of the table."""
    network, steps, k, seed, weights = job
    torch.set_num_threads(1)
    config = replace(clel_preset("sprites"), network=network, steps=steps, mcmc_steps=k, seed=seed)
    if network != "mlp":
        config = replace(config, learning_rate=1e-3)
    began = time.process_time()
    with TemporaryDirectory() as folder:
        state = run_clel(config, RunOptions(out=Path(folder)))
    model = model_of(state, config)
    seconds = time.process_time() - began
    oldest = state.buffer.age.argsort(descending=True)[: len(state.buffer) // 2]  # not the chains that just restarted
    buffer = state.buffer.x[oldest]
    return [
        (f"{network}, {steps} it, K {k}, w {w:g}", seed, {**composed(model, buffer, w, seed=seed), "seconds": seconds})
        for w in weights
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=["mlp"])
    parser.add_argument("--steps", type=int, nargs="+", default=[clel_preset("sprites").steps])
    parser.add_argument("--mcmc-steps", type=int, nargs="+", default=[30])
    parser.add_argument("--weights", type=float, nargs="+", default=[0.1, 0.3, 1.0, 2.0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("data/results/clel_sprites"))
    a = parser.parse_args()
    jobs = [(n, s, k, seed, tuple(a.weights)) for seed in a.seeds for s in a.steps for k in a.mcmc_steps for n in a.networks]
    rows = []
    with torch.multiprocessing.get_context("spawn").Pool(a.workers) as pool:
        for found in pool.imap_unordered(one, jobs):
            rows += found
            for name, seed, m in found:
                print(name, seed, {k: round(v, 2) for k, v in m.items() if k.endswith(("both", "valid", "seconds"))}, flush=True)
    rows.sort(key=lambda r: (r[0], r[1]))
    command = (
        f"python -m experiments.sprites --networks {' '.join(a.networks)} --steps {' '.join(map(str, a.steps))} "
        f"--mcmc-steps {' '.join(map(str, a.mcmc_steps))} --weights {' '.join(map(str, a.weights))} --seeds {' '.join(map(str, a.seeds))}"
    )
    table = Table(tuple(rows), command)
    table.write(a.out, digits=2)
    print(table.markdown(digits=2))


if __name__ == "__main__":
    main()
