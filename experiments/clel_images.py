"""CLEL on images, from training to the card: train (or resume), sample, Frechet distances with their floor, detection, slim weights.

python -m experiments.clel_images --data fashion_mnist --out runs/clel-fashion --classifier runs/classifier-fashion --outside mnist
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import fields, replace
from pathlib import Path

import torch

from ebmlearn.cli_runs import Export, card_of, feature_network
from ebmlearn.training.clel import run_clel
from ebmlearn.training.clel_model import ClelConfig, clel_preset, export_clel, import_clel, plain_ebm
from ebmlearn.training.engine import write_png
from ebmlearn.training.evaluate import Judge, evaluate, real, write_evaluation
from ebmlearn.training.samples import load_trained
from ebmlearn.training.state import RunOptions, make_fabric


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="fashion_mnist, mnist or cifar10; without it, this help")
    parser.add_argument("--preset", default="default")
    parser.add_argument("--out", type=Path, default=Path("runs/clel-images"), help="checkpoint and metrics.csv")
    parser.add_argument("--export", type=Path, help="slim weights, card, figures and results (default: OUT/export)")
    parser.add_argument("--classifier", type=Path, help="folder of experiments.image_classifier; without it no Frechet distance")
    parser.add_argument("--outside", nargs="*", default=(), help="further data sets for detection")
    parser.add_argument("--max-minutes", type=float)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--plain", action="store_true", help="the same without a latent")
    parser.add_argument("--samples", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--limit", type=int, help="use the first so many training images only")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--name", default="")
    for f in fields(ClelConfig):
        if f.name != "data":
            kind = {"int": int, "float": float, "str": str}.get(str(f.type), lambda v: v in ("1", "true", "True"))
            parser.add_argument("--" + f.name.replace("_", "-"), type=kind, default=None)
    a = parser.parse_args()
    if a.data is None:
        parser.print_help()
        return
    chosen = {f.name: getattr(a, f.name) for f in fields(ClelConfig) if f.name != "data" and getattr(a, f.name) is not None}
    config = clel_preset(a.data, a.preset)
    config = replace(plain_ebm(config) if a.plain else config, **chosen)
    device = torch.device(a.device)
    fabric = make_fabric(accelerator="cuda" if device.type == "cuda" else "cpu", devices=a.devices)
    command = f"python -m experiments.clel_images --data {a.data} --preset {a.preset}" + (" --plain" if a.plain else "")
    command += "".join(f" --{k.replace('_', '-')} {v}" for k, v in chosen.items()) + (f" --limit {a.limit}" if a.limit else "")
    log_every = 100 if device.type == "cuda" else 10
    options = RunOptions(out=a.out, resume=a.resume, max_minutes=a.max_minutes, log_every=log_every, command=command)
    began = time.monotonic()
    first = []

    def on_log(step, metrics):
        first.append(step)
        if len(first) % 5 == 1:
            print(
                f"{time.monotonic() - began:6.0f} s  step {step:6d}  " + "  ".join(f"{k} {v:.4g}" for k, v in metrics.items()),
                flush=True,
            )

    state = run_clel(config, options, fabric=fabric, on_log=on_log, limit=a.limit)
    if fabric.global_rank > 0:
        return
    trained = time.monotonic() - began
    print(f"{state.step} iterations in all; this call {trained:.0f} s, from step {first[0] if first else state.step}", flush=True)

    found = load_trained(a.out / "last.ckpt", device=device)
    model = found.model
    drawn = replace(found, draw=lambda n, g: model.sample(n, rounds=a.rounds, steps=config.mcmc_steps, generator=g))
    shape = tuple(state.buffer.x.shape[1:])
    features, logits, label = feature_network(str(a.classifier) if a.classifier else "none", a.data, shape, device)
    judge = Judge(a.data, features=features, logits=logits, n=a.samples, limit=a.limit)
    outside = {name: real(name, "test", limit=2000, seed=7)[0] for name in a.outside}
    measured, x = evaluate(drawn, judge, outside=outside, device=device, batch=min(500, a.samples))
    results = {"recipe": "clel", "features": label, **measured}
    folder = a.export or a.out / "export"
    about = Export(source=a.out, name=a.name or f"clel-{a.data}")
    export_clel(model.cpu(), folder, card=card_of(found, about, results))
    again, inside = import_clel(folder), judge.test[:100]
    results["export_energy_shift"] = float((again.ood_score(inside, weight=0) - model.ood_score(inside, weight=0)).abs().max())
    write_evaluation(a.out / "evaluation", results, x)
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    scale = max(1, 64 // x.shape[-1])
    write_png(folder / "samples.png", x[:100], scale=scale)
    write_png(folder / "buffer.png", state.buffer.x[:100].cpu(), scale=scale)
    (folder / "metrics.csv").write_text((a.out / "metrics.csv").read_text())
    for k, v in results.items():
        if not k.endswith("_error"):
            print(f"{k:28s} {v:.4f}" if isinstance(v, float) else f"{k:28s} {v}")
    print(about.name, "->", folder, sorted(f"{p.name} {p.stat().st_size / 2**20:.1f} MiB" for p in folder.iterdir()))


if __name__ == "__main__":
    main()
