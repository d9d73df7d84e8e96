"""The sheet of reproductions, data/reproduction.md: what the papers claim, our command, our number, read from cards and tables of results.

python -m tools.reproduction           # write it
python -m tools.reproduction --check   # exit 1 when it is not what the cards and tables say
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from ebmlearn.networks.resnet import SpectralConv2d
from ebmlearn.training.ablate import Table
from ebmlearn.training.clel_model import build_joint, clel_preset

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "data" / "reproduction.md"
HEAD = ("claim", "command", "our number", "device", "hours", "gap", "remarks")


@dataclass(frozen=True)
class Row:
    """One claim. `number` is None while it is owed."""

    claim: str
    command: str
    number: Callable[[], str] | None = None
    device: str = "-"
    hours: str = "-"
    gap: str = "-"
    remarks: str = ""


def card(name: str) -> Mapping[str, Any]:
    return json.loads((ROOT / "data" / "checkpoints" / name / "card.json").read_text())


def shipped(name: str) -> bool:
    return (ROOT / "data" / "checkpoints" / name / "card.json").exists()


def table(name: str, setting: str, metric: str, digits: int = 3) -> str:
    """Mean ± standard error of one cell, and the number of seeds."""
    found = Table.read(ROOT / "data" / "results" / f"{name}.csv", command="")
    mean, error = found.mean_and_error(setting, metric)
    return f"{mean:.{digits}g} ± {error:.1g}"


def seeds(name: str, setting: str, metric: str) -> str:
    """How many seeds a cell is the mean of."""
    return f"{len(Table.read(ROOT / 'data' / 'results' / f'{name}.csv', command='').values(setting, metric))} seeds"


def ratio(name: str, setting: str, above: str, below: str) -> str:
    """The quotient of two means."""
    found = Table.read(ROOT / "data" / "results" / f"{name}.csv", command="")
    return f"{found.mean_and_error(setting, above)[0] / found.mean_and_error(setting, below)[0]:.2g}"


@functools.cache
def parameters(preset: str) -> str:
    """Numbers in f and g; built without values, so the power iterations that follow a real construction are left out."""
    with torch.device("meta"), mock.patch.object(SpectralConv2d, "power_iterate", lambda self, n=1: None):
        joint = build_joint(clel_preset("cifar10", preset), (3, 32, 32))
    return f"{sum(p.numel() for p in joint.parameters()):,}"


def from_evaluation(name: str) -> Callable[[], str] | None:
    """Frechet distance and floor of a shipped model that `ebmlearn evaluate` judged; None when there is none."""
    if not shipped(name):
        return None
    r = card(name)["results"]
    if "samples_frechet" not in r:
        return None
    return lambda: (
        f"Frechet distance {r['samples_frechet']:.3g}, floor {r['floor_frechet']:.2g} ({r['n']} samples, `{r['features']}`)"
    )


def cell(page: str, row: str) -> str:
    """The second cell of the first row of results/<page> that begins so."""
    for line in (ROOT / "data" / "results" / page).read_text().splitlines():
        if line.startswith(f"| {row}"):
            return line.split("|")[2].strip(" *")
    raise ValueError(f"data/results/{page} has no row that begins with {row!r}")


def first_shipped(*names: str) -> str:
    """The first of these models that is there, else the first."""
    return next((n for n in names if shipped(n)), names[0])


def made(recipe: str, data: str, preset: str, more: str = "") -> str:
    name = f"{recipe}-{data.replace('_', '-')}-{preset}"
    flags = f"{more} --accelerator cuda --out runs/{name}"
    return f"`ebmlearn train {recipe} --data {data} --preset {preset}{flags}`, `ebmlearn evaluate --from runs/{name} --accelerator cuda`"


def from_card(name: str) -> dict[str, str]:
    """Device and hours of a shipped model."""
    if not shipped(name):
        return {}
    c = card(name)
    return {"device": str(c["device"]), "hours": f"{c['hours']:.2g}" if "hours" in c else "-"}


def rows() -> dict[str, list[Row]]:
    """The claims, by paper."""
    fashion = card("gcd-fashion-mnist")["results"]
    digits = card("clel-digits")["results"]
    clel = first_shipped("clel-cifar10-base", "clel-cifar10", "clel-cifar10-medium", "clel-cifar10-small")
    gcd = first_shipped("gcd-cifar10-default", "gcd-cifar10", "gcd-cifar10-small")
    return {
        "Guiding energy-based models via contrastive latent variables (Lee, Jeong, Park, Shin, 2023)": [
            Row(
                "CLEL-Base has 6,955,648 parameters (f and g)",
                "`python -m tools.reproduction`",
                lambda: parameters("base"),
                gap="none",
            ),
            Row(
                "CLEL-Large has 30,706,816 parameters (f and g)",
                "`python -m tools.reproduction`",
                lambda: parameters("large"),
                gap="none",
            ),
            Row(
                "samples of a wanted kind without conditional training",
                f"`{card('clel-digits')['command']}`, `python -m experiments.ablate_clel`",
                lambda: (
                    f"8 x 8 digits: the wanted class in {digits['class_accuracy_w1']:.0%} of 250 samples, {digits['class_accuracy_w0']:.0%} without the latent"
                ),
                "CPU, one core",
                gap="the paper shows pictures",
                remarks="judged by `digits-classifier`; chance is 10 %",
            ),
            Row(
                "the latent makes samples better than those of the plain energy-based model, whose CIFAR-10 FID is about 23.5 after 100,000 iterations "
                "(as others quote it)",
                "`ebmlearn ablate clel`",
                lambda: (
                    f"8 x 8 digits, Frechet distance: {table('ablate_clel', 'SimCLR', 'fd_fresh')} with the latent, "
                    f"{table('ablate_clel', 'no latent', 'fd_fresh')} without, floor {table('ablate_clel', 'SimCLR', 'fd_floor')}"
                ),
                "CPU, one core",
                gap="**not confirmed** at this size",
                remarks=seeds("ablate_clel", "SimCLR", "fd_fresh")
                + "; with the latent of a class as a condition the distance is lower",
            ),
            Row(
                "the same on CIFAR-10" + (f", with [{clel}](checkpoints/{clel}/card.md)" if shipped(clel) else ""),
                made("clel", "cifar10", "base", " --engine compile")
                + "; the plain model: the same with `--encoder none --beta 0 --no-extra-negatives`",
                from_evaluation(clel),
                **from_card(clel),
                remarks="100,000 iterations at 84 ms are 2.3 hours on one H100; continued over several occasions with `--resume`",
            ),
            Row(
                "CIFAR-10 FID 8.61 of CLEL-Large (as others quote it)",
                made("clel", "cifar10", "large", " --engine compile"),
                from_evaluation("clel-cifar10-large"),
                **from_card("clel-cifar10-large"),
                remarks="our distances use our own classifier's features; a comparison needs the Inception network as well",
            ),
            Row(
                "ImageNet 32 x 32 FID 22.16 (Base), 15.47 (Large) (as others quote them)",
                "no loader for ImageNet yet",
                remarks="not planned",
            ),
        ],
        "Generalized contrastive divergence (Yoon, Kwon, Hwang, Noh, Park, 2023)": [
            Row(
                "at equilibrium energy and sampler are both the data's law",
                f"`{card('lesson14-8gaussians')['command']}`",
                lambda: (
                    f"eight Gaussians: KL(data, energy) {table('gcd_2d', 'weighted', 'kl')}; sliced Wasserstein of the 5-step sampler "
                    f"{table('gcd_2d', 'weighted', 'sw')}, {table('gcd_2d', 'weighted', 'sw_start')} before, floor {table('gcd_2d', 'weighted', 'floor')}"
                ),
                "CPU, one core",
                gap=f"sampler at {ratio('gcd_2d', 'weighted', 'sw', 'floor')} times the floor",
                remarks=seeds("gcd_2d", "weighted", "kl")
                + "; our importance weights in the energy's step; the papers' plain negatives: KL "
                + table("gcd_2d", "plain, wide bowl", "kl"),
            ),
            Row(
                "the entropy is what makes the energy converge",
                "`python -m experiments.ablate_gcd`",
                lambda: (
                    f"eight Gaussians: KL {table('gcd_ablation', 'plain', 'kl')} with it, {table('gcd_ablation', 'IPM critic, no entropy, gamma = 1', 'kl')} without"
                ),
                "CPU, one core",
                gap="agrees, not isolated",
                remarks="the second needs gamma = 1 to be stable, the first has gamma = 0",
            ),
            Row(
                "(our question) does joint training improve a sampler of ten steps?",
                "`python -m experiments.gcd_images`, see [gcd_fashion.md](results/gcd_fashion.md)",
                lambda: (
                    f"Fashion-MNIST, T = 10, Frechet distance: {fashion['start']:.3g} before, {fashion['last']:.3g} at the end ({fashion['best']['fd']:.3g} at the best look), "
                    f"floor {fashion['floor']:.2g}"
                ),
                fashion["device"],
                f"{(fashion['pretrain']['seconds'] + fashion['finetune']['seconds']) / 3600:.2g}",
                gap="a small effect",
                remarks="one seed; the papers' CIFAR-10 numbers were not at hand",
            ),
            Row(
                "the same on CIFAR-10",
                made("gcd", "cifar10", "default") + " (judge the checkpoint at the end of the pretraining too: `--watch`)",
                from_evaluation(gcd),
                **from_card(gcd),
            ),
        ],
        "Gaussian-Bernoulli RBMs without tears (Liao, Kornblith, Ren, Fleet, Hinton, 2022)": [
            Row(
                "Gibbs-Langevin is a better sampler for learning than Gibbs",
                "`ebmlearn ablate grbm`",
                lambda: (
                    "8 x 8 digits, the paper's recipe at temperature 1, Frechet distance of chains as long as in training: "
                    f"{table('ablate_grbm', 'digits: paper' + chr(39) + 's recipe (T = 1)', 'Frechet matched')} Gibbs-Langevin, "
                    f"{table('ablate_grbm', 'digits: - Gibbs', 'Frechet matched')} Gibbs"
                ),
                "CPU, one core",
                gap="**not confirmed** at this size",
                remarks=seeds("ablate_grbm", "digits: - Gibbs", "Frechet matched")
                + "; the released program's samplers also differ in temperature, ours do not",
            ),
            Row(
                "modified CD, chains from noise, lets one generate from noise",
                "`ebmlearn ablate grbm`",
                lambda: (
                    f"8 x 8 digits, Frechet distance from noise: {table('ablate_grbm', 'digits: paper' + chr(39) + 's recipe (T = 1)', 'Frechet matched')} when trained from noise, "
                    f"{table('ablate_grbm', 'digits: - chains from data', 'Frechet matched')} when trained from data"
                ),
                "CPU, one core",
                gap="agrees",
                remarks="a generator of so many steps, no density: longer chains are worse",
            ),
            Row(
                "modified CD and gradient clipping suffice for large learning rates",
                "`ebmlearn ablate grbm`",
                lambda: (
                    f"8 x 8 digits, test log-likelihood by AIS: {table('ablate_grbm', 'digits: paper' + chr(39) + 's recipe (T = 1)', 'test LL')} with clipping, "
                    f"{table('ablate_grbm', 'digits: - no clipping', 'test LL')} without"
                ),
                "CPU, one core",
                gap="agrees",
                remarks="at the paper's rate of 0.01; the AIS of the second number has few effective chains",
            ),
            Row(
                "samples of Fashion-MNIST from 784 x 10,000 units, CD-100, batch 512, 3,000 epochs (pictures)",
                "`python -m experiments.grbm_images --data fashion_mnist --variant large --minutes 13`, see [grbm_fashion.md](results/grbm_fashion.md)",
                lambda: (
                    f"Frechet distance of samples / conditional means {cell('grbm_fashion.md', 'Frechet distance, 100 sweeps')}, of one Gaussian "
                    f"{cell('grbm_fashion.md', 'Frechet distance of one')}, floor {cell('grbm_fashion.md', 'floor')}; test log-likelihood "
                    f"{cell('grbm_fashion.md', 'test log-likelihood').split(' nats')[0]}, one Gaussian's {cell('grbm_fashion.md', 'one full Gaussian').split(' ')[0]}"
                ),
                "NVIDIA H100 80GB HBM3, shared",
                "7 minutes",
                gap="**mostly ankle boots**",
                remarks="stopped by its time limit, at half of a schedule a tenth as long as the paper's 351,000 updates",
            ),
            Row(
                "the same to the end of its schedule",
                made("rbm", "fashion_mnist", "paper"),
                from_evaluation("rbm-fashion-mnist-paper"),
                **from_card("rbm-fashion-mnist-paper"),
            ),
            Row(
                "CIFAR-10, our own configuration (the paper has none)",
                made("rbm", "cifar10", "large"),
                from_evaluation("rbm-cifar10-large"),
                **from_card("rbm-cifar10-large"),
            ),
        ],
    }


def page() -> str:
    """The sheet in Markdown."""
    parts = [
        "# What was reproduced, and what is owed",
        "Made by `python -m tools.reproduction` from the model cards in `checkpoints/` and the tables in `results/`; a test compares them. Claims are those that could be read in the "
        'papers, in their programs, or in papers that quote them; numbers that could not be checked are left out. "Owed" rows have not been run: the command stands beside them. '
        "Frechet distances are in the features of our own classifiers, so they compare within one row only and are no FID values.",
    ]
    for paper, claims in rows().items():
        lines = ["| " + " | ".join(HEAD) + " |", "|" + "---|" * len(HEAD)]
        for r in claims:
            number = "**owed**" if r.number is None else r.number()
            cells = (r.claim, r.command, number, r.device, r.hours, r.gap, r.remarks or "-")
            lines.append("| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |")
        parts += [f"## {paper}", "\n".join(lines)]
    return "\n\n".join(parts) + "\n"


def main() -> int:
    text = page()
    if "--check" in sys.argv:
        same = PAGE.exists() and PAGE.read_text() == text
        print(
            "data/reproduction.md is as the cards and tables say"
            if same
            else "data/reproduction.md is stale: python -m tools.reproduction"
        )
        return 0 if same else 1
    PAGE.write_text(text)
    print(PAGE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
