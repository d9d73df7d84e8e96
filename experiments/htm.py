"""Hallucinative topological memory, a wall and a door: success beside three baselines, what each ingredient buys, what wrong edges cost.

python -m experiments.htm                                   # -> data/results/htm.md, htm_ablation.md, htm_wrong_edges.md, and the weights
python -m experiments.htm --seeds 1 --steps 200 --tasks 5 --out /tmp/htm   # a quick look
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

from ebmlearn.planning.htm import HTM
from ebmlearn.training.ablate import Table
from ebmlearn.training.htm import run_htm, start_htm, train_htm
from ebmlearn.training.htm_model import HTMConfig, build_htm, calibrate, collect, export_htm
from ebmlearn.training.htm_report import (
    draw_tasks,
    euclidean,
    hallucinate,
    run_tasks,
    straight_line,
    with_energy,
    with_errors,
    with_oracle,
)
from ebmlearn.training.state import RunOptions, bare, make_fabric

COMMAND = "python -m experiments.htm"
NODES = 1000
# name -> what differs from the defaults; the generator, the state energy and the nodes are the same
INGREDIENTS: dict[str, dict] = {
    "all ingredients": {},
    "end points only": {"points": 2},
    "positives 1 to 4 steps apart": {"max_steps": 4},
    "no swap": {"swap": False},
    "Gaussian negatives": {"negatives": "gaussian"},
    "coarse features, tanh(p - c)": {"scales": (1.0,)},
}
RATES = (0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3)


def train(config: HTMConfig) -> tuple[HTM, float]:
    """All three networks; CPU seconds, the collection of walks included."""
    began = time.process_time()
    with tempfile.TemporaryDirectory() as out:
        state = run_htm(config, RunOptions(out=Path(out), log_every=500))
    model = bare(state.objective).model
    return model.eval().requires_grad_(False), time.process_time() - began  # type: ignore[return-value, union-attr, operator]


def retrain_pairs(base: HTM, config: HTMConfig) -> HTM:
    """Another pair energy for the same generator and state energy."""
    torch.manual_seed(config.seed)
    walks = collect(config, generator=torch.Generator().manual_seed(config.seed))
    model = build_htm(config)
    model.generator, model.state_energy = base.generator, base.state_energy
    state = start_htm(make_fabric(), model, config, pairs_only=True)
    for _ in train_htm(make_fabric(), state, walks, config=config):
        if state.step >= config.steps:
            break
    calibrate(model, walks, state_quantile=config.state_quantile, pair_quantile=config.pair_quantile)
    return model.eval().requires_grad_(False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--ablation-seeds", type=int, default=1, help="seeds of the other two tables")
    parser.add_argument("--steps", type=int, default=HTMConfig.steps)
    parser.add_argument("--tasks", type=int, default=60)
    parser.add_argument("--out", type=Path, default=Path("data"), help="gets results/ and checkpoints/")
    args = parser.parse_args()
    torch.set_num_threads(1)
    about = (
        f"\nUnseen worlds, one task in each, {args.tasks} a seed; {NODES} hallucinated nodes before pruning; start and goal on opposite sides of "
        "the wall, 0.1 or more from it. valid nodes: share outside the wall. wrong kept: impossible pairs of valid nodes closer "
        "than 0.1 that are edges; all: nodes in the wall included. found: the search reaches the goal. strict: the robot does, and no move was "
        "blocked. 10 replans: at a blocked move the edge is deleted and the search repeated. length: walked over shortest way, strict successes.\n"
    )

    def add(rows: list, name: str, seed: int, metrics: dict[str, float]) -> None:
        rows.append((name, seed, metrics))
        print(f"{name}, seed {seed}: " + ", ".join(f"{k} {v:.4g}" for k, v in metrics.items()), flush=True)

    def write(rows: list, name: str, note: str) -> None:
        table = Table(tuple(rows), COMMAND)
        table.write(args.out / "results" / name)
        path = (args.out / "results" / name).with_suffix(".md")
        path.write_text(path.read_text() + about + note + "\n")

    rows: list = []
    runs = []  # seed -> what the other two tables use again
    for seed in range(args.seeds):
        config = HTMConfig(seed=seed, steps=args.steps)
        model, seconds = train(config)
        generator = torch.Generator().manual_seed(10_000 + seed)
        tasks = draw_tasks(config, args.tasks, generator=generator)
        raw = hallucinate(model, tasks, NODES, prune=False, generator=generator)
        nodes = hallucinate(model, tasks, NODES, generator=generator)
        base = run_tasks(tasks, with_energy(model, tasks, nodes.kept))
        add(rows, "energy", seed, base | {"valid nodes, unpruned": raw.valid, "training, CPU s": seconds})
        add(rows, "oracle edges", seed, run_tasks(tasks, with_oracle(tasks, nodes.kept)))
        add(rows, "Euclidean edges", seed, run_tasks(tasks, euclidean(nodes.kept)))
        add(rows, "straight line", seed, {"strict": straight_line(tasks)})
        runs.append((config, model, tasks, raw, nodes, base))
    write(rows, "htm", "The baselines use the same nodes. Training: one thread, the walks included.")
    config, model, *_ = runs[0]
    card = {
        "name": "htm-door",
        "command": COMMAND,
        "model": "HTM: conditional VAE of states, state energy and pair energy for a wall with a door; the context is the middle of the door",
        "data": f"random walks: {config.worlds} worlds x {config.walks} walks x {config.walk_steps} steps of at most 0.1, no labels, no actions",
        "seed": 0,
        "results": {k: round(v, 4) for k, v in rows[0][2].items()},
        "torch": torch.__version__.split("+")[0],
        "licence": "MIT",
        "limits": "one upright wall of thickness 0.04 at x in (.3, .7) with one door of height 0.16; moves of at most 0.1; reversible motion",
    }
    text = Table(tuple(rows), COMMAND).markdown() + about
    export_htm(model, config, args.out / "checkpoints" / "htm-door", card=card, text=text)

    rows = []
    for seed, (config, model, tasks, raw, nodes, base) in enumerate(runs[: args.ablation_seeds]):
        for name, change in INGREDIENTS.items():
            other = retrain_pairs(model, replace(config, **change)) if change else model
            add(rows, name, seed, run_tasks(tasks, with_energy(other, tasks, nodes.kept)) if change else base)
            if name in ("all ingredients", "no swap", "end points only"):
                add(rows, f"{name}, no pruning", seed, run_tasks(tasks, with_energy(other, tasks, raw.kept)))
        note = "Within a seed all rows share generator, state energy and tasks; only the pair energy is trained again, with one change."
        write(rows, "htm_ablation", note)

    rows = []
    for seed, (_, _, tasks, _, nodes, _) in enumerate(runs[: args.ablation_seeds]):
        generator = torch.Generator().manual_seed(20_000 + seed)
        for rate in RATES:
            add(rows, f"{rate:g}", seed, run_tasks(tasks, with_errors(tasks, nodes.kept, rate, generator=generator)))
    write(
        rows, "htm_wrong_edges", "Edges: every possible pair, and each impossible one with the probability in the first column."
    )


if __name__ == "__main__":
    main()
