"""Lesson 07: slim weights of a digits run, with the scores of its samples from fresh noise and from its buffer on the card.

ebmlearn train cd --data digits --out runs/digits
python -m experiments.lesson07_digits --run runs/digits       # writes data/checkpoints/lesson07-digits
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from ebmlearn.pretrained import load_pretrained
from ebmlearn.training.cd import load_cd
from ebmlearn.training.cd_report import report_digits
from ebmlearn.training.state import read_checkpoint

COMMANDS = ("ebmlearn train cd --data digits --out runs/digits", "python -m experiments.lesson07_digits --run runs/digits")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--run", type=Path, default=Path("runs/digits"), help="folder of a finished `ebmlearn train cd --data digits`"
    )
    parser.add_argument("--out", type=Path, default=Path("data/checkpoints/lesson07-digits"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    payload = read_checkpoint(args.run / "last.ckpt", recipe="cd")
    energy, config, event_shape = load_cd(args.run / "last.ckpt")
    energy.requires_grad_(False)
    judged = report_digits(energy, config, payload["state"]["buffer"]["x"], load_pretrained("digits-classifier"), seed=0)
    print(judged)
    args.out.mkdir(parents=True, exist_ok=True)
    weights = {k: v.contiguous() for k, v in energy.state_dict().items()}
    save_file(weights, args.out / "weights.safetensors")
    card = {
        "name": "lesson07-digits",
        "kind": "norm-energy",
        "config": {
            "event_shape": list(event_shape),
            "hidden_features": list(config.hidden_features),
            "out_features": config.out_features,
        },
        "sha256": {"weights.safetensors": hashlib.sha256((args.out / "weights.safetensors").read_bytes()).hexdigest()},
        "command": " && ".join(COMMANDS),
        "data": "scikit-learn's 8x8 digits, 1297 to train, 500 to test",
        "updates": int(payload["state"]["step"]),
        "torch": torch.__version__.split("+")[0],
        "results": {row.name: round(row.frechet, 1) for row in judged.rows},
        "licence": "MIT",
    }
    (args.out / "card.json").write_text(json.dumps(card, indent=1) + "\n")
    (args.out / "card.md").write_text(
        "# lesson07-digits\n\nAn energy of 8x8 handwritten digits, E(x) = |f(2x - 1)|²/2, trained by contrastive divergence with a replay buffer "
        f"({card['updates']} updates); the moving average of its parameters.\n\n"
        + "".join(f"    {c}\n" for c in COMMANDS)
        + "\nFrechet distance and class statistics in the features of `digits-classifier`; the last row is the floor.\n\n"
        + str(judged)
        + "\n\nMeant for lesson 07: a short-run model at temperature 5e-4, no Boltzmann distribution; not a benchmark.\n"
    )


if __name__ == "__main__":
    main()
