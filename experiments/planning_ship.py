"""Weights of the three worlds of lesson 15, seed 0: trained as `ebmlearn train planning --data WORLD` does, with their cards.

python experiments/planning_ship.py                        # trains what is not in runs/ yet; writes data/checkpoints/planning-*
"""

from __future__ import annotations

import argparse
import csv
import time
from pathlib import Path

import torch

from ebmlearn.training.planning import load_planning, planning_preset, run_planning
from ebmlearn.training.planning_weights import export_planning
from ebmlearn.training.state import RunOptions

ABOUT = {
    "empty": (
        "E(s, s') = -log p(s' | s) of moves in the empty unit square",
        "planning_trajectories",
        "learned + goal + obstacle + length; MPPI",
    ),
    "maze": (
        "E(s, s') = -log p(s' | s) of moves in one maze of 4 x 4 cells",
        "planning_maze",
        "learned edges, then descent, length x 5",
    ),
    "four-rooms": (
        "two networks of (state, goal): first action, and number of steps or far; four rooms",
        "planning_search",
        "learned edges",
    ),
}


def results(table: Path, setting: str) -> dict[str, float]:
    """The numbers of seed 0, if the table is there."""
    if not table.exists():
        return {}
    with open(table, newline="") as file:
        for row in csv.DictReader(file):
            if row["setting"] == setting and row["seed"] == "0":
                return {k: round(float(v), 4) for k, v in row.items() if k not in ("setting", "seed") and v}
    return {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--out", type=Path, default=Path("data"), help="holds results/, gets checkpoints/")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for world, (about, table, setting) in ABOUT.items():
        run, name = args.runs / f"planning-{world}", f"planning-{world}"
        began = time.process_time()
        if not (run / "last.ckpt").exists():
            run_planning(planning_preset(world), RunOptions(out=run))
            print(f"{name}: {time.process_time() - began:.0f} CPU s of training", flush=True)
        model, config = load_planning(run / "last.ckpt")
        card = {
            "name": name,
            "command": f"ebmlearn train planning --data {world} --out runs/{name}; python experiments/planning_ship.py",
            "about": f"{about[0].upper()}{about[1:]}.",
            "data": f"{config.walks} random walks of {config.walk_steps} moves, seed {config.seed}, nothing else",
            "results": results(args.out / "results" / f"{table}.csv", setting),
            "results_of": f"{setting}, seed 0 of data/results/{table}.csv",
            "seed": config.seed,
            "steps": config.steps,
            "device": "one CPU thread",
            "torch": torch.__version__.split("+")[0],
            "licence": "MIT",
            "limits": "one world; pairs farther apart than a few moves are extrapolation",
        }
        export_planning(model, config, args.out / "checkpoints" / name, card=card)


if __name__ == "__main__":
    main()
