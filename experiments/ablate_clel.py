"""The ablation of CLEL's latent on digits: none, SimCLR with and without extra negatives, BYOL, MAE, supervised, random; seeds, errors.

python -m experiments.ablate_clel --seeds 0 1 2                       # everything, one process, about 25 minutes on one core
python -m experiments.ablate_clel --seeds 0 1 2 3 4 --workers 14     # the same, so many runs side by side, one core each
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from ebmlearn.pretrained import load_pretrained
from ebmlearn.training.ablate import Table, run_ablation
from ebmlearn.training.clel_model import clel_preset
from ebmlearn.training.clel_report import clel_settings

SHOWN = (
    "fd_fresh",
    "fd_buffer",
    "class_accuracy_w0",
    "class_accuracy_w1",
    "class_fd_w1",
    "instance_fd_w0",
    "instance_fd_w1",
    "instance_nearest_w1",
    "auroc_patch_w0",
    "auroc_patch_w1",
    "auroc_mirrored_w0",
    "auroc_mirrored_w1",
    "auroc_interpolation_w0",
    "auroc_interpolation_w1",
    "auroc_noise_w0",
)


def one(job: tuple[str, int, int]) -> tuple[str, int, dict[str, float]]:
    """One run: (setting, seed, steps) -> its row."""
    name, seed, steps = job
    torch.set_num_threads(1)
    settings = clel_settings(replace(clel_preset("digits"), steps=steps), load_pretrained("digits-classifier"))
    return run_ablation({name: settings[name]}, [seed], command="").rows[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=clel_preset("digits").steps)
    parser.add_argument("--settings", nargs="+", help="some settings only")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("data/results/ablate_clel"))
    a = parser.parse_args()
    names = list(clel_settings(clel_preset("digits"), load_pretrained("digits-classifier")))
    jobs = [(name, seed, a.steps) for seed in a.seeds for name in a.settings or names]
    rows = []
    with torch.multiprocessing.get_context("spawn").Pool(a.workers) as pool:
        for row in pool.imap_unordered(one, jobs):
            rows.append(row)
            print(
                len(rows), "of", len(jobs), row[0], row[1], {k: round(v, 3) for k, v in row[2].items() if k in SHOWN}, flush=True
            )
    rows.sort(key=lambda r: (names.index(r[0]), r[1]))
    command = f"python -m experiments.ablate_clel --seeds {' '.join(map(str, a.seeds))} --steps {a.steps}"
    Table(tuple(rows), command).write(a.out)
    shown = Table(tuple((s, seed, {k: m[k] for k in (*SHOWN, "diverged") if k in m}) for s, seed, m in rows), command)
    a.out.with_suffix(".md").write_text(shown.markdown())
    print(shown.markdown())


if __name__ == "__main__":
    main()
