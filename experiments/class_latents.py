"""The class latents of a CLEL model, for samples of a class where the training images are not at hand; and how well they steer.

python -m experiments.class_latents --name clel-fashion-mnist                    # -> data/results/latents_clel-fashion-mnist.csv
python -m experiments.class_latents --name clel-fashion-mnist --classifier fashion-mnist-classifier --device cuda   # -> the table
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from ebmlearn.datasets.augment import dequantise_bytes
from ebmlearn.pretrained import load_pretrained
from ebmlearn.training.clel_model import load_bytes
from ebmlearn.training.clel_report import classes_of

FOLDER = Path("data/results")


def write_latents(name: str, *, images: int, views: int) -> Path:
    """Latents from `images` training images under `views` augmentations, rows = classes."""
    model = load_pretrained(name)
    generator = torch.Generator().manual_seed(0)
    pixels, labels, levels = load_bytes(model.config.data, "train")
    rows = torch.randperm(len(pixels), generator=generator)[:images]
    x = dequantise_bytes(pixels[rows], levels=levels, generator=generator)
    z = model.class_latents(x, labels[rows], views=views, generator=generator)
    out = FOLDER / f"latents_{name}.csv"
    with open(out, "w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([[f"{v:.4f}" for v in row] for row in z.tolist()])
    return out


def read_latents(path: Path) -> torch.Tensor:
    with open(path, newline="") as file:
        return torch.tensor([[float(v) for v in row] for row in csv.reader(file)])


def measure(
    name: str, classifier: str, *, weights: Sequence[float], device: str, per_class: int, rounds: int, steps: int
) -> list[list[str]]:
    """One row a weight: share of samples whose class is the wanted one with its standard error, and the classifier's confidence."""
    model, judge = load_pretrained(name).to(device), load_pretrained(classifier).to(device)
    z = read_latents(FOLDER / f"latents_{name}.csv").to(device)
    wanted = torch.arange(10, device=device).repeat_interleave(per_class)
    rows = []
    for w in weights:
        x = model.sample(
            len(wanted),
            terms=[(z[wanted], w)] if w else [],
            rounds=rounds,
            steps=steps,
            generator=torch.Generator(device).manual_seed(1),
        )
        found, confidence = classes_of(judge, x)
        p = (found == wanted).double().mean().item()
        kinds = len(found.unique())
        rows.append([f"{w:g}", f"{p:.3f} ± {(p * (1 - p) / len(wanted)) ** 0.5:.3f}", f"{confidence:.2f}", str(kinds)])
        print(*rows[-1], flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", help="a CLEL checkpoint; without it, this help")
    parser.add_argument("--classifier", help="the judge: measure how well stored latents steer")
    parser.add_argument("--weights", type=float, nargs="+", default=[0.0, 0.001, 0.01, 0.1])
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--views", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--per-class", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--out", type=Path, help="of the table; default data/results/conditional_NAME.md")
    a = parser.parse_args()
    if a.name is None:
        parser.print_help()
        return
    if a.classifier is None:
        print(write_latents(a.name, images=a.images, views=a.views))
        return
    began = time.monotonic()
    rows = measure(
        a.name, a.classifier, weights=a.weights, device=a.device, per_class=a.per_class, rounds=a.rounds, steps=a.steps
    )
    where = torch.cuda.get_device_name() if a.device.startswith("cuda") else "CPU"
    lines = [
        f"# Samples of a class, `{a.name}`",
        "",
        f"{10 * a.per_class} chains from noise a weight, {a.rounds} rounds of {a.steps} steps (the last twice as long), steered by `latents_{a.name}.csv`; judged by",
        f"`{a.classifier}`. {where}, torch {torch.__version__}, {time.monotonic() - began:.0f} s. Chance is 0.1; one seed. The error is binomial.",
        "",
        "| weight w | class as wanted | confidence of the judge | classes found |",
        "|---|---|---|---|",
        *("| " + " | ".join(row) + " |" for row in rows),
        "",
        f"Command: `python -m experiments.class_latents --name {a.name} --classifier {a.classifier} --device {a.device}"
        f" --per-class {a.per_class} --rounds {a.rounds} --steps {a.steps}`",
    ]
    out = a.out or FOLDER / f"conditional_{a.name}.md"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
