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

from ebmlearn.metrics.images import frechet_distance
from ebmlearn.metrics.ood import detection, standard_sets
from ebmlearn.training.clel import model_of, run_clel
from ebmlearn.training.clel_model import ClelConfig, clel_preset, export_clel, import_clel, load_bytes, plain_ebm
from ebmlearn.training.engine import write_png
from ebmlearn.training.image_classifier import import_classifier
from ebmlearn.training.state import RunOptions, make_fabric


@torch.no_grad()
def features(net: torch.nn.Module, x: torch.Tensor, device: torch.device, batch: int = 1000) -> torch.Tensor:
    """Penultimate features of images in [0, 1] (bytes are divided by 255), on the CPU."""
    out = []
    for b in x.split(batch):
        b = b.to(device)
        out.append(net.features(b if b.is_floating_point() else b.float() / 255).float().cpu())
    return torch.cat(out)


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
    options = RunOptions(out=a.out, resume=a.resume, max_minutes=a.max_minutes, log_every=100 if device.type == "cuda" else 10)
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

    model = model_of(state, config).to(device)
    generator = torch.Generator(device).manual_seed(1)
    began = time.monotonic()
    x = model.sample(a.samples, rounds=a.rounds, steps=config.mcmc_steps, generator=generator, batch=min(500, a.samples)).cpu()
    results: dict[str, float] = {
        "step": float(state.step),
        "samples": float(len(x)),
        "sampling_seconds": time.monotonic() - began,
    }
    train_x, _, levels = load_bytes(a.data, "train")
    test_x, test_y, _ = load_bytes(a.data, "test")
    if a.limit:
        train_x, test_x, test_y = train_x[: a.limit], test_x[: a.limit], test_y[: a.limit]
    if a.classifier is not None:
        net = import_classifier(a.classifier).to(device)
        reference = features(net, train_x, device)
        n = min(a.samples, len(test_x), len(state.buffer.x))
        found = features(net, x, device)
        results["fd_fresh"] = frechet_distance(found[:n], reference)
        results["fd_buffer"] = frechet_distance(features(net, state.buffer.x[:n].cpu(), device), reference)
        results["fd_floor"] = frechet_distance(features(net, test_x[:n], device), reference)
        results["fd_noise"] = frechet_distance(features(net, torch.rand(n, *x.shape[1:]), device), reference)
        results["fd_n"] = float(n)
        with torch.no_grad():
            p = torch.cat([net(b.to(device)).softmax(-1).cpu() for b in x.split(1000)])
        shares = torch.bincount(p.argmax(-1), minlength=10).double() / len(p)
        results["class_entropy"] = float(-(shares * shares.clamp(min=1e-12).log()).sum())
        results["confidence"] = float(p.max(-1).values.mean())
    print(json.dumps(results), flush=True)

    g = torch.Generator().manual_seed(0)
    n = min(2000, len(test_x))
    inside = (test_x[:n].float() + 0.5) / levels
    sets = standard_sets(inside, test_y[:n], generator=g)
    for name in a.outside:
        other, _, other_levels = load_bytes(name, "test")
        sets[name] = (other[:n].float() + 0.5) / other_levels
    weights = (0.0,) if model.encoder is None else (0.0, 0.01, 0.1, 1.0)
    for w in weights:
        own = model.ood_score(inside, weight=w)
        for name, outside in sets.items():
            d = detection(own, model.ood_score(outside, weight=w), resamples=50, generator=g)
            results[f"auroc_{name}_w{w:g}"], results[f"auroc_{name}_w{w:g}_error"] = d.auroc, d.auroc_error
    folder = a.export or a.out / "export"
    model.cpu()
    fresh = run_name = a.name or f"clel-{a.data}"
    command = (
        f"python -m experiments.clel_images --data {a.data} --preset {a.preset} --steps {config.steps} --seed {config.seed}"
        + (" --plain" if a.plain else "")
    )
    place = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    seconds = sum_seconds(a.out / "metrics.csv")
    card: dict[str, object] = {
        "name": run_name,
        "command": command,
        "device": place,
        "torch": torch.__version__,
        "training_seconds": seconds,
        "results": results,
    }
    export_clel(model, folder, card=card)
    again = import_clel(folder)
    shift = float((again.ood_score(inside[:100], weight=0) - model.ood_score(inside[:100], weight=0)).abs().max())
    results["export_energy_shift"] = shift
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    scale = max(1, 64 // x.shape[-1])
    write_png(folder / "samples.png", x[:100], scale=scale)
    write_png(folder / "buffer.png", state.buffer.x[:100].cpu(), scale=scale)
    (folder / "metrics.csv").write_text((a.out / "metrics.csv").read_text())
    for k, v in results.items():
        if not k.endswith("_error"):
            print(f"{k:28s} {v:.4f}")
    print(fresh, "->", folder, sorted(f"{p.name} {p.stat().st_size / 2**20:.1f} MiB" for p in folder.iterdir()))


def sum_seconds(path: Path) -> float:
    """Training seconds of all calls: the clock in metrics.csv starts anew with each."""
    total = last = 0.0
    for line in path.read_text().splitlines()[1:]:
        s = float(line.split(",")[1])
        if s < last:
            total += last
        last = s
    return total + last


if __name__ == "__main__":
    main()
