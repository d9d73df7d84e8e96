"""The command line of the experiments on planning: seeds x tasks -> one table of settings in `results/`."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from .ablate import Table

Rows = list[tuple[str, int, dict[str, float]]]


def write_table(
    one_seed: Callable[..., Rows],
    *,
    name: str,
    about: str | None = None,
    tasks: str = "a seed",
    argv: Sequence[str] | None = None,
) -> Table:
    """Run an experiment for each seed and write `OUT/results/<name>.md` and `.csv`; `--help` lists the arguments.

    The table names the command with the arguments that change its numbers.

    Args:
        one_seed: `(seed, n=tasks, steps=, scratch=folder)` -> rows `(setting, seed, metrics)`; trains in `scratch`.
        name: of the table, and of the script in `experiments/`.
        about: printed by `--help`.
        tasks: what `--tasks` counts by.
        argv: the words of the command; None takes them from the command line.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tasks", type=int, default=40, help=tasks)
    parser.add_argument("--steps", type=int, default=None, help="of training; default the preset's")
    parser.add_argument("--out", type=Path, default=Path("data"), help="gets results/")
    parser.add_argument(
        "--runs", type=Path, default=None, help="keep the training runs here, and do not repeat those that are there"
    )
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    rows: Rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for seed in range(args.seeds):
            rows += one_seed(seed, n=args.tasks, steps=args.steps, scratch=(args.runs or Path(scratch)) / str(seed))
    changed = [f" --{k} {v}" for k in ("seeds", "tasks", "steps") if (v := getattr(args, k)) != parser.get_default(k)]
    table = Table(tuple(rows), f"python experiments/{name}.py" + "".join(changed))
    table.write(args.out / "results" / name)
    print(table.markdown())
    return table
