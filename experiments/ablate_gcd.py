"""The tables of GCD: the digits, five seeds of the main settings in the plane, three of the ablation.

python -m experiments.ablate_gcd                              # everything, one after the other, into data/results/
python -m experiments.ablate_gcd --jobs                       # one line a run: table, setting, seed
python -m experiments.ablate_gcd --job "main|weighted|0" --out runs/gcd-2d     # one run, one row
python -m experiments.ablate_gcd --merge runs/gcd-2d --out DIR # all rows and all logs as two files in DIR
python -m experiments.ablate_gcd --gather runs/gcd-2d         # rows -> data/results/
"""

from __future__ import annotations

import argparse
import csv
import re
from dataclasses import replace
from pathlib import Path

import torch

from ebmlearn.training.ablate import Table
from ebmlearn.training.gcd_report import ABLATION, SETTINGS, report_run
from ebmlearn.training.state import Diverged

from .gcd_digits import SETTINGS as DIGITS
from .gcd_digits import digits_run

TABLES = {"digits": (DIGITS, range(3)), "main": (SETTINGS, range(5)), "ablation": (ABLATION, range(3))}
FILES = {"digits": "gcd_digits", "main": "gcd_2d", "ablation": "gcd_ablation"}
KEPT = {
    "digits": None,
    "main": {"weighted", "weighted, wide bowl"},
    "ablation": {"IPM critic, no entropy, gamma = 1"},
}  # whose weights, seed 0, are kept
# settings of the ablation that the main table runs already, with more seeds
SAME = {"weighted, wide bowl": "weighted", "plain, wide bowl": "plain"}
COMMAND = "python -m experiments.ablate_gcd"
BRIEF = ("sw", "sir", "auc", "kl", "ess", "gap", "cpu_seconds", "diverged")
SHOWN = ("sw", "floor", "sw_start", "sir", "auc", "auc_true", "kl", "log_z_grid", "log_z_paths", "ess", "gap", "ll", "ll_true")


def jobs() -> list[str]:
    """Every run, the most important first; what the main table has is not run twice."""
    whole = [f"{table}|{name}|{seed}" for table, (settings, seeds) in TABLES.items() for name in settings for seed in seeds]
    return [job for job in whole if not (job.startswith("ablation") and job.split("|")[1] in SAME.values())]


def run_job(job: str, out: Path, *, shrink: int = 1) -> None:
    """One run: its row (`rows/`), its log every 25 updates (`logs/`), and for seed 0 of some the weights (`weights/`)."""
    table, name, seed = job.split("|")
    config = TABLES[table][0][name]
    if shrink > 1:
        config = replace(config, pretrain_steps=config.pretrain_steps // shrink, steps=config.steps // shrink)
    stem = re.sub(r"[^a-z0-9]+", "-", f"{table} {name} {seed}".lower())
    kept = KEPT[table]
    weights = out / "weights" / stem if seed == "0" and (kept is None or name in kept) else None
    log: list[dict[str, object]] = []

    def on_log(step: int, metrics: dict[str, float]) -> None:
        log.append({"table": table, "setting": name, "seed": seed, "step": step, **metrics})

    try:
        if table == "digits":
            metrics = digits_run(config, int(seed), weights=weights)
        else:
            metrics = report_run(config, int(seed), on_log=on_log, weights=weights)
    except (Diverged, FloatingPointError, ValueError) as error:
        print(f"{job}: {error}", flush=True)
        metrics = {"diverged": 1.0}
    for folder, rows in (("logs", log), ("rows", [{"table": table, "setting": name, "seed": seed, **metrics}])):
        if rows:
            (out / folder).mkdir(parents=True, exist_ok=True)
            with open(out / folder / f"{stem}.csv", "w", newline="") as file:
                writer = csv.DictWriter(file, fieldnames=list(rows[-1]))
                writer.writeheader()
                writer.writerows(rows)
    print(job, {k: round(v, 3) for k, v in metrics.items()}, flush=True)


def read(paths: list[Path]) -> list[dict[str, str]]:
    rows = []
    for path in paths:
        with open(path, newline="") as file:
            rows += list(csv.DictReader(file))
    return rows


def write(path: Path, rows: list[dict[str, str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    names = list(dict.fromkeys(k for r in rows for k in r))
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=names)
        writer.writeheader()
        writer.writerows(rows)


def gather(source: Path, target: Path) -> None:
    """All rows and logs of `source` (a folder of runs, or of gathered CSV files) as tables in `target`."""
    files = sorted((source / "rows").glob("*.csv")) or sorted(source.glob("*rows*.csv"))
    rows = read(files)
    logs = read(sorted((source / "logs").glob("*.csv")) or sorted(source.glob("*logs*.csv")))
    for found in (rows, logs):
        found += [
            {**r, "table": "ablation", "setting": SAME[r["setting"]]}
            for r in found
            if r["table"] == "main" and r["setting"] in SAME
        ]
    rows = list({(r["table"], r["setting"], r["seed"]): r for r in rows}.values())
    logs = list({(r["table"], r["setting"], r["seed"], r["step"]): r for r in logs}.values())
    for table in TABLES:
        found = sorted(
            (r for r in rows if r["table"] == table), key=lambda r: (list(TABLES[table][0]).index(r["setting"]), int(r["seed"]))
        )  # fmt: skip
        if not found:
            continue
        numbers = [
            (
                r["setting"],
                int(r["seed"]),
                {k: float(v) for k, v in r.items() if k not in ("table", "setting", "seed") and v != ""},
            )
            for r in found
        ]
        stem = target / FILES[table]
        shown = {"main": (*SHOWN, "cpu_seconds", "diverged"), "ablation": BRIEF, "digits": tuple(numbers[0][2])}[table]
        Table(tuple((s, i, {k: m[k] for k in shown if k in m}) for s, i, m in numbers), COMMAND).write(stem)
        Table(tuple(numbers), COMMAND).write(target / f"{stem.name}_all")
        (target / f"{stem.name}_all.md").unlink()
        stem.with_suffix(".csv").unlink()
        (target / f"{stem.name}_all.csv").rename(stem.with_suffix(".csv"))
    kept = {
        "plain, energy rate 1e-3",
        "plain, energy rate 2e-3",
        "IPM critic, no entropy, gamma = 1",
        "weighted",
        "plain",
        "weighted, DP",
        "plain, DP",
    }
    chosen = [r for r in logs if r["table"] == "ablation" and r["setting"] in kept and r["seed"] == "0"]
    if chosen:
        write(target / "gcd_logs.csv", chosen)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", action="store_true")
    parser.add_argument("--job")
    parser.add_argument("--gather", type=Path)
    parser.add_argument("--merge", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/gcd-2d"))
    parser.add_argument("--target", type=Path, default=Path("data/results"))
    parser.add_argument("--shrink", type=int, default=1, help="so many times fewer updates, to try the command")
    a = parser.parse_args()
    torch.set_num_threads(1)
    if a.jobs:
        print("\n".join(jobs()))
    elif a.merge:
        for kind in ("rows", "logs"):
            write(a.out / f"gcd_2d_{a.merge.name}_{kind}.csv", read(sorted((a.merge / kind).glob("*.csv"))))
    elif a.gather:
        gather(a.gather, a.target)
    else:
        for job in [a.job] if a.job else jobs():
            run_job(job, a.out, shrink=a.shrink)
        if not a.job:
            gather(a.out, a.target)


if __name__ == "__main__":
    main()
