"""Hallucinative topological memory from a picture of the world, with a bar in it that is no wall: success on unseen pictures.

python -m experiments.htm_picture                                  # -> data/results/htm_picture.md and the weights
python -m experiments.htm_picture --steps 60 --tasks 3 --out /tmp/htm   # a quick look
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from ebmlearn.training.ablate import Table
from ebmlearn.training.htm_model import export_htm, htm_preset
from ebmlearn.training.htm_report import draw_tasks, euclidean, hallucinate, run_tasks, straight_line, with_energy, with_oracle

from .htm import NODES, train

COMMAND = "python -m experiments.htm_picture"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--steps", type=int, default=None)
    parser.add_argument("--tasks", type=int, default=60)
    parser.add_argument("--out", type=Path, default=Path("data"), help="gets results/ and checkpoints/")
    args = parser.parse_args()
    torch.set_num_threads(1)
    preset = htm_preset("door-picture")
    preset = preset if args.steps is None else replace(preset, steps=args.steps)
    rows: list = []

    def add(name: str, seed: int, metrics: dict[str, float]) -> None:
        rows.append((name, seed, metrics))
        print(f"{name}, seed {seed}: " + ", ".join(f"{k} {v:.4g}" for k, v in metrics.items()), flush=True)

    about = (
        f"\nUnseen pictures of {preset.picture} x {preset.picture} pixels with a wall, its door and a grey bar that stops nobody; one task in each, "
        f"{args.tasks} a seed; {NODES} hallucinated nodes before pruning, the same for every row of a seed. Columns as in htm.md. "
        "margin: a move must also be possible when shifted by so much along each diagonal; the energy is the same in both rows.\n"
    )
    for seed in range(args.seeds):
        config = replace(preset, seed=seed)
        model, seconds = train(config)
        generator = torch.Generator().manual_seed(10_000 + seed)
        tasks = draw_tasks(config, args.tasks, generator=generator)
        raw = hallucinate(model, tasks, NODES, prune=False, generator=generator)
        nodes = hallucinate(model, tasks, NODES, generator=generator)
        for margin in (config.margin, 0.0):
            model.margin = margin
            result = run_tasks(tasks, with_energy(model, tasks, nodes.kept))
            extra = {"valid nodes, unpruned": raw.valid, "training, CPU s": seconds} if margin else {}
            add(f"energy, margin {margin:g}", seed, result | extra)
        model.margin = config.margin
        add("oracle edges", seed, run_tasks(tasks, with_oracle(tasks, nodes.kept)))
        add("Euclidean edges", seed, run_tasks(tasks, euclidean(nodes.kept)))
        add("straight line", seed, {"strict": straight_line(tasks)})
        table = Table(tuple(rows), COMMAND)
        table.write(args.out / "results" / "htm_picture")
        path = (args.out / "results" / "htm_picture").with_suffix(".md")
        path.write_text(path.read_text() + about)
        if seed == 0:
            shipped = model, config
    card = {
        "name": "htm-picture",
        "command": COMMAND,
        "model": "HTM: conditional VAE of states, state energy and local pair energy for a wall with a door; the context is a picture",
        "data": f"random walks: {preset.worlds} worlds x {preset.walks} walks x {preset.walk_steps} steps of at most 0.1, no labels, no actions",
        "seed": 0,
        "results": {k: round(v, 4) for k, v in rows[0][2].items()},
        "torch": torch.__version__.split("+")[0],
        "licence": "MIT",
        "limits": "pictures of one upright wall with one door and one grey upright bar, drawn by ebmlearn.planning.pictures",
    }
    export_htm(*shipped, args.out / "checkpoints" / "htm-picture", card=card, text=table.markdown() + about)


if __name__ == "__main__":
    main()
