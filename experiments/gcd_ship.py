"""Model cards and shipped weights of GCD, from the folders that the other commands wrote.

python -m experiments.gcd_ship --runs runs/gcd-2d            # the plane (lesson 14) and the digits
python -m experiments.gcd_ship --images runs/gcd-fashion/export --data fashion_mnist
"""

from __future__ import annotations

import argparse
import csv
import json
from dataclasses import replace
from pathlib import Path

import torch

from ebmlearn.training.game import GcdConfig, gcd_preset
from ebmlearn.training.gcd_report import ABLATION, SETTINGS
from ebmlearn.training.gcd_weights import export_gcd

from .gcd_digits import SETTINGS as DIGITS

TARGET = Path("data/checkpoints")
NOTE = "Compare its numbers only within one feature network and one number of samples."


def card_text(name: str, about: str, card: dict[str, object], limits: str) -> str:
    """A model card in Markdown."""
    results = "\n".join(f"  - {k}: {v}" for k, v in dict(card["results"]).items())  # type: ignore[call-overload]
    return (
        f"# {name}\n\n{about}\n\n- **Data**: {card['data']}.\n- **Made by**: `{card['command']}`\n- **Results**:\n{results}\n"
        f'- **Weights**: safetensors; their SHA-256 stand in `card.json` and are checked by `load_pretrained("{name}")`.\n'
        f"- **Licence**: MIT.\n- **Limits**: {limits}\n"
    )


def ship(
    name: str,
    weights: dict[str, Path],
    config: GcdConfig,
    event_shape: tuple[int, ...],
    about: str,
    card: dict[str, object],
    limits: str,
) -> None:
    """One folder of `data/checkpoints`."""
    folder = TARGET / name
    card = {"name": name, "licence": "MIT", "torch": torch.__version__, **card}
    export_gcd(folder, weights, config, event_shape, card)
    (folder / "card.md").write_text(card_text(name, about, card, limits))
    print(folder, {p.name: p.stat().st_size for p in folder.iterdir()})


def row(runs: Path, table: str, setting: str, seed: int) -> dict[str, float]:
    """The numbers of one run."""
    for path in sorted((runs / "rows").glob("*.csv")) + sorted(runs.glob("*rows*.csv")):
        with open(path, newline="") as file:
            for r in csv.DictReader(file):
                if (r["table"], r["setting"], r["seed"]) == (table, setting, str(seed)):
                    return {k: round(float(v), 4) for k, v in r.items() if k not in ("table", "setting", "seed") and v != ""}
    raise SystemExit(f"no row for {table} | {setting} | {seed} in {runs}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path)
    parser.add_argument("--digits", choices=sorted(DIGITS), default="preset")
    parser.add_argument("--images", type=Path)
    parser.add_argument("--data", default="fashion_mnist")
    a = parser.parse_args()
    if a.runs:
        found = a.runs / "weights"
        plane = found / "main-weighted-0"
        if plane.exists():
            ship(
                "lesson14-8gaussians",
                {k: plane / f"{k}.safetensors" for k in ("before", "sampler", "energy", "backward")},
                gcd_preset("8gaussians"),
                (2,),
                "A five-step diffusion sampler before and after GCD, its energy and its backward kernel, on eight Gaussians.",
                {
                    "data": "eight Gaussians, 200 000 points drawn from the known density",
                    "command": 'python -m experiments.ablate_gcd --job "main|weighted|0"',
                    "results": row(a.runs, "main", "weighted", 0),
                },
                "two dimensions, one seed; the table over five seeds is data/results/gcd_2d.md.",
            )
        wide = found / "main-weighted-wide-bowl-0"
        if wide.exists():
            ship(
                "lesson14-wide",
                {"energy": wide / "energy.safetensors"},
                SETTINGS["weighted, wide bowl"],
                (2,),
                "The energy of lesson14-8gaussians in a wider bowl, with false wells beyond the data: a failure to look at.",
                {
                    "data": "eight Gaussians, 200 000 points drawn from the known density",
                    "command": 'python -m experiments.ablate_gcd --job "main|weighted, wide bowl|0"',
                    "results": row(a.runs, "main", "weighted, wide bowl", 0),
                },
                "a tenth of its mass lies where there are no data.",
            )
        name = "IPM critic, no entropy, gamma = 1"
        ipm = found / "ablation-ipm-critic-no-entropy-gamma-1-0"
        if ipm.exists():
            ship(
                "lesson14-ipm",
                {"energy": ipm / "energy.safetensors"},
                ABLATION[name],
                (2,),
                "The critic of an integral probability metric, trained without entropy at the budget of lesson14-8gaussians: a failure to look at.",
                {
                    "data": "eight Gaussians",
                    "command": f'python -m experiments.ablate_gcd --job "ablation|{name}|0"',
                    "results": row(a.runs, "ablation", name, 0),
                },
                "it is not a density; that is its point.",
            )
        digits = found / ("digits-" + "".join(c if c.isalnum() else "-" for c in a.digits.lower()).replace("--", "-") + "-0")
        if digits.exists():
            ship(
                "gcd-digits",
                {k: digits / f"{k}.safetensors" for k in ("before", "sampler", "energy")},
                DIGITS[a.digits],
                (1, 8, 8),
                "A five-step diffusion sampler of 8x8 digits before and after GCD, and its critic.",
                {
                    "data": "scikit-learn's 8x8 digits, 1297 to train, 500 to test",
                    "command": f'python -m experiments.gcd_digits --job "digits|{a.digits}|0"',
                    "results": row(a.runs, "digits", a.digits, 0),
                },
                f"the sampler with the lowest Frechet distance of the run, by the distance that is quoted. {NOTE} gamma > 0: the energy is a critic, not a density.",
            )
    if a.images:
        results = json.loads((a.images / "results.json").read_text())
        config = replace(gcd_preset(a.data), pretrain_steps=0)
        short = {k: round(v, 3) if isinstance(v, float) else v for k, v in results.items()}
        ship(
            f"gcd-{a.data.replace('_', '-')}",
            {k: a.images / f"{k}.safetensors" for k in ("sampler", "energy") if (a.images / f"{k}.safetensors").exists()},
            config,
            (1, 28, 28) if "mnist" in a.data else (3, 32, 32),
            f"A {config.sampler_steps}-step diffusion sampler of {a.data} fine-tuned by GCD, and its critic.",
            {
                "data": f"{a.data}, official training set",
                "command": f"python -m experiments.gcd_images pretrain (then finetune) --data {a.data} --out runs/gcd --classifier runs/classifier",
                "results": short,
            },
            f"bfloat16 weights; the sampler with the lowest Frechet distance of the run. {NOTE}",
        )


if __name__ == "__main__":
    main()
