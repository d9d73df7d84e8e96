"""Digits by contrastive divergence, from nothing to samples, judged beside a full Gaussian, uniform noise and the floor.

python -m experiments.digits_cd                  # seed 0, about a minute on one quiet core
python -m experiments.digits_cd --seeds 0 1 2    # three training seeds
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from dataclasses import fields, replace
from pathlib import Path

import torch

from ebmlearn.metrics.images import FLOOR, Report, Row
from ebmlearn.pretrained import load_pretrained
from ebmlearn.training.cd import CDConfig, run_cd
from ebmlearn.training.cd_report import BUFFER, FRESH, GAUSSIAN, UNIFORM, report_digits
from ebmlearn.training.state import RunOptions

OUT = Path("data/results/digits_cd.md")


def measure(config: CDConfig, out: Path, *, sampler_seeds: int = 2) -> tuple[list[Report], float, float]:
    """Train, then report with each sampler seed; also the CPU seconds of training, and of training plus one set of samples."""
    classifier = load_pretrained("digits-classifier")
    began = time.process_time()
    state = run_cd(config, RunOptions(out=out))
    trained = time.process_time() - began
    reports = []
    for seed in range(sampler_seeds):
        reports.append(report_digits(state.ema.module, config, state.buffer.x, classifier, seed=seed))
        if seed == 0:
            sampled = time.process_time() - began
    return reports, trained, sampled


def mean_rows(reports: list[Report], name: str) -> tuple[Row, float]:
    """The mean of a row over reports, and the standard error of its Frechet distance (NaN with one report)."""
    rows = [r[name] for r in reports]
    values = {f.name: sum(getattr(r, f.name) for r in rows) / len(rows) for f in fields(Row) if f.name not in ("name", "n")}
    spread = math.nan
    if len(rows) > 1:
        spread = math.sqrt(sum((r.frechet - values["frechet"]) ** 2 for r in rows) / (len(rows) - 1) / len(rows))
    return Row(name=name, n=rows[0].n, **values), spread


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--steps", type=int, default=CDConfig().steps)
    parser.add_argument("--out", type=Path, default=OUT)
    a = parser.parse_args()
    torch.set_num_threads(1)
    reports: list[Report] = []
    seconds = []
    for seed in a.seeds:
        config = replace(CDConfig(), seed=seed, steps=a.steps)
        with tempfile.TemporaryDirectory() as folder:
            found, trained, sampled = measure(config, Path(folder))
        reports += found
        seconds.append((trained, sampled))
        print(
            f"seed {seed}: {trained:.0f} CPU s to train, {sampled:.0f} with 500 samples from noise and all baselines\n{found[0]}",
            flush=True,
        )
    command = "python -m experiments.digits_cd --seeds " + " ".join(map(str, a.seeds))
    if a.steps != CDConfig().steps:
        command += f" --steps {a.steps}"
    about = {
        FRESH: "the model, from uniform noise",
        BUFFER: "the model, persistent chains",
        GAUSSIAN: "one Gaussian with the pixels' mean and covariance",
    }
    lines = ["| images | Frechet | precision | recall | class entropy | confidence |", "|---|---|---|---|---|---|"]
    for name in (FRESH, BUFFER, GAUSSIAN, UNIFORM, FLOOR):
        row, error = mean_rows(reports, name)
        frechet = f"{row.frechet:.1f}" + ("" if math.isnan(error) else f" ± {error:.1f}")
        cells = [f"{v:.2f}" for v in (row.precision, row.recall, row.entropy, row.confidence)]
        lines.append(f"| {about.get(name, name)} | {frechet} | " + " | ".join(cells) + " |")
    worst = max(s for s, _ in seconds)
    text = f"""# Contrastive divergence on the 8x8 digits

{chr(10).join(lines)}

500 images a set against the 1297 training digits, in the 64 features of `digits-classifier`; mean ± standard error over
{len(a.seeds)} training seed(s) x 2 sampler seeds. The floor is the 500 held-out digits; class entropy is at most log 10 = 2.30. The
Gaussian is clamped to [0, 1]. {a.steps} updates; training took at most {worst:.0f} CPU seconds a run, on one core of a machine
shared with other work.

Command: `{command}`. The same training: `ebmlearn train cd --data digits --out runs/digits`, then
`ebmlearn sample --from runs/digits --n 100 --out digits.png`.
"""
    a.out.parent.mkdir(parents=True, exist_ok=True)
    a.out.write_text(text)
    print(f"\n{text}-> {a.out}")


if __name__ == "__main__":
    main()
