"""A GRBM on images, from training to the card: train for so many minutes (or resume), AIS log-likelihood, Frechet distances, pictures, slim weights.

python -m experiments.grbm_images --data fashion_mnist --variant paper --minutes 5 --out runs/grbm-fashion --classifier runs/classifier-fashion
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import fields, replace
from pathlib import Path

import torch

from ebmlearn.metrics.images import class_statistics, extract, frechet_distance
from ebmlearn.samplers import sample
from ebmlearn.training.engine import write_png
from ebmlearn.training.rbm import RBMConfig, build, kernel_of, load_rbm, rbm_preset, run_rbm, samples_from_noise
from ebmlearn.training.rbm_data import flat_data
from ebmlearn.training.rbm_report import as_images, gaussian_log_likelihood, log_likelihood, normalised
from ebmlearn.training.rbm_weights import RBMModel, export_rbm
from ebmlearn.training.state import RunOptions, make_fabric


def measure_update(config: RBMConfig, fabric, updates: int) -> float:
    """Seconds of one update, after the first ones (compilation, capture) are past."""
    _, _, steps = build(config, fabric)
    for _ in range(3):
        next(steps)
    _wait(fabric.device)
    begin = time.perf_counter()
    for _ in range(updates):
        next(steps)
    _wait(fabric.device)
    return (time.perf_counter() - begin) / updates


def _wait(device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


@torch.no_grad()
def frechet_rows(sets: dict[str, torch.Tensor], classifier: Path, data: str, device) -> dict[str, float]:
    """Frechet distance to the test images in the classifier's features, class entropy and confidence of each set, and the floor."""
    from ebmlearn.training.clel_model import load_bytes
    from ebmlearn.training.image_classifier import import_classifier

    net = import_classifier(classifier).to(device)

    def features(x):
        return net.features(x.to(device)).float().cpu()

    def logits(x):
        return net(x.to(device)).float().cpu()

    n = min(len(x) for x in sets.values())
    train, test = (load_bytes(data, split)[0][:n].float() / 255 for split in ("train", "test"))
    real = extract(test, features)
    out = {"frechet_n": float(n), "frechet_floor": frechet_distance(extract(train, features), real)}
    for name, x in sets.items():
        out[f"frechet_{name}"] = frechet_distance(extract(x[:n], features), real)
        seen = class_statistics(extract(x[:n], logits))
        out[f"confidence_{name}"], out[f"entropy_{name}"] = seen.confidence, seen.entropy
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="fashion_mnist")
    parser.add_argument("--variant", default="small", help="small, paper, large or released")
    parser.add_argument("--out", type=Path, required=True, help="checkpoint and metrics.csv")
    parser.add_argument("--export", type=Path, help="slim weights, card, pictures, results (default: OUT/export)")
    parser.add_argument("--classifier", type=Path, help="folder of experiments.image_classifier; without it no Frechet distance")
    parser.add_argument(
        "--minutes",
        type=float,
        help="choose the number of updates so that training takes so long; the rate decays to 0 within it",
    )
    parser.add_argument("--max-minutes", type=float, help="stop after so long whatever happens, with a checkpoint")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--samples", type=int, default=5000)
    parser.add_argument("--long", type=int, default=1000, help="sweeps of the long chains")
    parser.add_argument("--ais-sweeps", type=int, default=3000)
    parser.add_argument("--ais-chains", type=int, default=500)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    for f in fields(RBMConfig):
        if f.name not in ("data", "ais_sweeps"):
            kind = {"int": int, "float": float, "str": str, "int | None": int}.get(
                str(f.type), lambda v: v in ("1", "true", "True")
            )
            parser.add_argument("--" + f.name.replace("_", "-"), type=kind, default=None)
    a = parser.parse_args()
    chosen = {
        f.name: getattr(a, f.name)
        for f in fields(RBMConfig)
        if f.name not in ("data", "ais_sweeps") and getattr(a, f.name) is not None
    }
    config = replace(rbm_preset(a.data, a.variant), **chosen)
    device = torch.device(a.device)
    fabric = make_fabric(accelerator="cuda" if device.type == "cuda" else "cpu")
    checkpoint = a.out / "last.ckpt"
    if a.resume and checkpoint.exists():
        config = load_rbm(checkpoint)[2]
    elif a.minutes is not None:
        seconds = measure_update(config, fabric, 50 if device.type == "cuda" else 3)
        config = replace(config, steps=max(10, math.floor(60 * a.minutes / seconds)))
        print(f"{1e3 * seconds:.3f} ms an update: {config.steps} updates in {a.minutes:g} minutes", flush=True)
    began = time.monotonic()
    seen = []

    def on_log(step, metrics):
        seen.append(step)
        if len(seen) % 10 == 1:
            print(
                f"{time.monotonic() - began:6.0f} s  step {step:6d}  " + "  ".join(f"{k} {v:.4g}" for k, v in metrics.items()),
                flush=True,
            )

    options = RunOptions(out=a.out, resume=a.resume, max_minutes=a.max_minutes, log_every=200 if device.type == "cuda" else 20)
    state = run_rbm(config, options, fabric=fabric, on_log=on_log, draw=False)
    _wait(device)
    minutes = (time.monotonic() - began) / 60
    data = flat_data(config.data, limit=config.limit or None, noise=config.noise)
    rbm, scale = state.rbm, state.scale
    g = torch.Generator(device).manual_seed(config.seed + 99)
    train, test = (scale(data.points(rows.to(device), generator=g)) for rows in (data.train[:20_000], data.test))
    result: dict[str, object] = {"updates": state.step, "train_minutes": minutes}
    ll = log_likelihood(rbm, train, test, sweeps=a.ais_sweeps, chains=a.ais_chains, generator=g)
    half = log_likelihood(rbm, train, test, sweeps=a.ais_sweeps // 2, chains=a.ais_chains, generator=g)
    result |= {f"ll_{k}": v for k, v in ll.items()} | {"ll_test_half_the_sweeps": half["test"]}
    result["ll_gaussian_test"] = gaussian_log_likelihood(train, test)
    n = a.samples
    sets: dict[str, torch.Tensor] = {}
    for name, sweeps in (("matched", config.sweeps), ("long", a.long)):
        x, mean = samples_from_noise(rbm, config, n, sweeps, generator=g)
        sets[f"{name}_samples"], sets[f"{name}_means"] = (as_images(scale.back(v), data.shape).cpu() for v in (x, mean))
    if state.chains is not None:
        x = sample(rbm, kernel_of(config), state.chains, config.sweeps, generator=g)
        sets["chains_means"] = as_images(scale.back(rbm.mean(rbm.sample_z(x, generator=g))), data.shape).detach().cpu()
    factor = torch.linalg.cholesky(train.T.double().cov() + 1e-4 * torch.eye(train.shape[1], device=device, dtype=torch.float64))
    noise = torch.randn(n, train.shape[1], generator=g, device=device)
    sets["one_gaussian"] = as_images(scale.back((noise.double() @ factor.T).float() + train.mean(0)), data.shape).cpu()
    if a.classifier is not None:
        result |= frechet_rows(sets, a.classifier, a.data, device)
    name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    folder = a.export or a.out / "export"
    command = f"python -m experiments.grbm_images --data {a.data} --variant {a.variant}" + (
        f" --minutes {a.minutes:g}" if a.minutes else ""
    )
    command += "".join(f" --{k.replace('_', '-')} {v}" for k, v in chosen.items())
    card = {"command": command, "device": name, "torch": str(torch.__version__), "results": result}
    export_rbm(RBMModel(rbm, scale, config, tuple(state.shape.tolist())), folder, card=card)
    rows = ("matched_samples", "matched_means", "long_samples", "long_means")
    write_png(folder / "samples.png", torch.cat([sets[r][:40] for r in rows]), columns=20)
    strongest = rbm.W.detach().norm(dim=0).argsort(descending=True)[:200:2]
    write_png(folder / "filters.png", as_images(normalised(rbm.W.detach().T[strongest]), data.shape), columns=20)
    (folder / "metrics.csv").write_text((a.out / "metrics.csv").read_text())
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
