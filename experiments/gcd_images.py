"""GCD on images: pretrain a diffusion sampler, fine-tune its short version against an energy, and say what it is worth.

python -m experiments.gcd_images pretrain --data fashion_mnist --out runs/gcd-fashion --minutes 8
python -m experiments.gcd_images finetune --data fashion_mnist --out runs/gcd-fashion --minutes 8
Both continue from where they stopped when given again. Fine-tuning keeps the averaged sampler with the lowest Frechet distance so far.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from dataclasses import fields, replace
from pathlib import Path

import torch

from ebmlearn import datasets
from ebmlearn.metrics.images import extract, frechet_distance
from ebmlearn.metrics.ood import auroc
from ebmlearn.training.engine import write_png
from ebmlearn.training.game import GcdConfig, build_state, gcd_preset, training_points, write_weights
from ebmlearn.training.gcd import train_gcd
from ebmlearn.training.image_classifier import import_classifier
from ebmlearn.training.state import Diverged, RunOptions, make_fabric, read_checkpoint, resume, run


def draw(sampler, n: int, *, generator: torch.Generator, batch: int = 500, ddim: bool = False) -> torch.Tensor:
    """`n` images in [0, 1], on the CPU."""
    sampler.eval()
    one = sampler.ddim if ddim else sampler.sample
    parts = [one(min(batch, n - i), generator=generator).cpu() for i in range(0, n, batch)]
    return (torch.cat(parts).clamp(-1, 1) + 1) / 2


def fitted(config: GcdConfig, fabric, out: Path, minutes: float) -> GcdConfig:
    """The configuration with as many updates as fit into the minutes, so that the learning rate has fallen when they end.

    A checkpoint in `out` keeps its own number.
    """
    name = "steps" if config.pretrain_steps == 0 else "pretrain_steps"
    if (out / "last.ckpt").exists():
        return replace(config, **{name: read_checkpoint(out / "last.ckpt")["config"][name]})
    scratch = replace(config, warm_up=0)
    steps = train_gcd(fabric, build_state(scratch, fabric), scratch)
    for _ in range(10):
        next(steps)
    if fabric.device.type == "cuda":
        torch.cuda.synchronize()
    began = time.monotonic()
    for _ in range(20):
        metrics = next(steps)
    float(metrics["e_pos"])  # waits for the device
    each = (time.monotonic() - began) / 20
    fit = min(getattr(config, name), max(1, int(0.93 * 60 * minutes / each)))
    print(f"{1000 * each:.1f} ms an update: {fit} updates", flush=True)
    return replace(config, **{name: fit})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("phase", choices=("pretrain", "finetune"))
    parser.add_argument("--data", default="fashion_mnist")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--classifier", type=Path, required=True, help="folder of experiments.image_classifier")
    parser.add_argument("--init", type=Path, help="weights to fine-tune; default those that pretrain wrote into --out")
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--samples", type=int, default=2000, help="images in a Frechet distance")
    parser.add_argument("--real", type=int, default=60_000, help="training images they are compared with")
    parser.add_argument("--every", type=int, default=250, help="updates of the game between distances")
    parser.add_argument("--long", type=int, nargs="*", default=[100, 1000], help="steps of the long baselines")
    parser.add_argument("--outside", nargs="*", default=[], help="data sets for out-of-distribution detection")
    parser.add_argument("--export", type=Path, help="folder for the slim weights, the pictures and the numbers")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="hyperparameters that differ from the preset")
    a = parser.parse_args()
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = True
    kinds = {f.name: f.type for f in fields(GcdConfig)}
    chosen = {}
    for one in a.set:
        name, value = one.split("=", 1)
        kind = kinds[name]
        chosen[name] = (
            tuple(map(int, value.split(",")))
            if "tuple" in str(kind)
            else {"int": int, "float": float, "str": str}.get(str(kind), str)(value)
        )
    config = replace(gcd_preset(a.data), **chosen)
    fabric = make_fabric(accelerator="cuda" if a.device.startswith("cuda") else "cpu")
    export = a.export or a.out / "export"
    export.mkdir(parents=True, exist_ok=True)
    net = import_classifier(a.classifier).to(fabric.device)

    def features(x: torch.Tensor) -> torch.Tensor:
        return extract(x, lambda b: net.features(b.to(fabric.device)).float())

    generator = torch.Generator(fabric.device).manual_seed(7)
    real = features((training_points(a.data)[: a.real] + 1) / 2)
    test = features((training_points(a.data, split="test")[: a.samples] + 1) / 2)
    floor = float(frechet_distance(real, test))

    def distance(sampler, *, ddim: bool = False, n: int = a.samples) -> float:
        images = draw(sampler, n, generator=generator, ddim=ddim)
        return float(frechet_distance(real, features(images)))

    def picture(sampler, name: str) -> None:
        write_png(export / name, draw(sampler, 100, generator=torch.Generator(fabric.device).manual_seed(0), batch=100))

    began = time.monotonic()
    results = json.loads((export / "results.json").read_text()) if (export / "results.json").exists() else {}
    results["floor"] = floor
    command = f"python -m experiments.gcd_images {a.phase} --data {a.data} --minutes {a.minutes:g} --set {' '.join(a.set)}".removesuffix(
        " --set "
    )
    options = RunOptions(
        out=a.out / a.phase, resume=True, max_minutes=a.minutes, log_every=50, checkpoint_minutes=3.0, command=command
    )
    if a.phase == "pretrain":
        config = fitted(replace(config, steps=0), fabric, options.out, a.minutes)
        state = build_state(config, fabric)
        resume(fabric, state, recipe="gcd", config=config, options=options)
        reason = run(
            fabric, state, train_gcd(fabric, state, config), recipe="gcd", config=config, total=config.pretrain_steps, options=options,
            on_log=lambda step, m: step % 500 == 0 and print(step, f"{m['loss_denoise']:.4f}", flush=True),
        )  # fmt: skip
        sampler = state.trained[0]
        write_weights(sampler, a.out / "sampler.safetensors")
        write_weights(sampler, export / "pretrained.safetensors", half=True)
        results["pretrain"] = {
            "steps": state.step,
            "seconds": time.monotonic() - began,
            "stopped": reason,
            "parameters": sum(p.numel() for p in sampler.parameters()),
        }
        for steps in (config.sampler_steps, *a.long):
            clock = time.monotonic()
            results[f"ancestral T={steps}"] = distance(sampler.with_steps(steps))
            results[f"seconds T={steps}"] = time.monotonic() - clock
            print(f"T={steps}: {results[f'ancestral T={steps}']:.2f}, floor {floor:.2f}", flush=True)
        results[f"ddim T={config.sampler_steps}"] = distance(sampler.with_steps(config.sampler_steps), ddim=True)
        picture(sampler.with_steps(config.sampler_steps), f"before_T{config.sampler_steps}.png")
        if a.long:
            picture(sampler.with_steps(a.long[-1]), f"before_T{a.long[-1]}.png")
    elif a.phase == "finetune":
        config = replace(config, pretrain_steps=0, init=str(a.init or a.out / "sampler.safetensors"))
        config = fitted(config, fabric, options.out, a.minutes)
        state = build_state(config, fabric)
        resume(fabric, state, recipe="gcd", config=config, options=options)
        best = results.get("best", {"fd": float("inf")})

        def look(step: int, metrics: dict[str, float]) -> None:
            nonlocal best
            if step % a.every and step != config.steps:
                return
            fd = distance(state.trained[0])
            row = {"step": step, "fd": fd, **metrics}
            path = export / "finetune.csv"
            new = not path.exists()
            with open(path, "a", newline="") as file:
                writer = csv.DictWriter(file, fieldnames=list(row))
                if new:
                    writer.writeheader()
                writer.writerow(row)
            print(
                f"{step}: FD {fd:.2f}  e_pos {metrics['e_pos']:.3f}  e_neg {metrics['e_neg']:.3f}  sigma_T {metrics['sigma_T']:.3f}",
                flush=True,
            )
            if fd < best["fd"]:
                best = {"fd": fd, "step": step}
                write_weights(state.trained[0], export / "sampler.safetensors", half=True)
                write_weights(state.trained[1], export / "energy.safetensors", half=True)

        if state.step == 0:
            results["start"] = distance(state.trained[0])
            print(f"start: FD {results['start']:.2f}, floor {floor:.2f}", flush=True)
        try:
            reason = run(
                fabric, state, train_gcd(fabric, state, config), recipe="gcd", config=config, total=config.steps, options=options, on_log=look
            )  # fmt: skip
        except Diverged as error:
            reason = f"diverged: {error}"
            print(reason, flush=True)
        results["best"] = best
        results["finetune"] = {"steps": state.step, "seconds": time.monotonic() - began, "stopped": reason}
        results["last"] = distance(state.trained[0])
        picture(state.trained[0], f"after_T{config.sampler_steps}.png")
        energy = state.trained[1].eval()
        with torch.no_grad():
            inside = training_points(a.data, split="test")[:2000]
            score = -torch.cat([energy(b.to(fabric.device)).cpu() for b in inside.split(500)])
            for name in a.outside:
                x = datasets.load(name, split="test", limit=2000).x
                other = -torch.cat([energy((2 * b - 1).to(fabric.device)).cpu() for b in x.split(500)])
                results[f"auroc {name}"] = float(auroc(score, other))
    if fabric.device.type == "cuda":
        results[f"{a.phase} peak memory GiB"] = torch.cuda.max_memory_allocated() / 2**30
        results["device"] = torch.cuda.get_device_name()
    results["torch"] = torch.__version__
    (export / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    print(json.dumps(results, indent=1), flush=True)


if __name__ == "__main__":
    main()
