"""The numbers of a shipped CLEL model and its card, from the weights alone and, where it is at hand, a saved part of the replay buffer.

python -m experiments.clel_card --weights data/checkpoints/clel-cifar10 --buffer runs/clel/buffer.pt
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from ebmlearn.metrics.images import extract, frechet_distance, kernel_distance
from ebmlearn.metrics.ood import detection, standard_sets
from ebmlearn.pretrained import load_pretrained
from ebmlearn.training.clel_model import import_clel, load_bytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, help="folder with card.json; without it, this help")
    parser.add_argument("--buffer", type=Path, help="a file of torch.save({'x': uint8 images [N, C, H, W]})")
    parser.add_argument("--classifier", default="cifar10-classifier")
    parser.add_argument("--n", type=int, default=1500, help="images in a distance, held-out ones and noise included")
    parser.add_argument("--reference", type=int, default=10_000, help="training images they are compared with")
    parser.add_argument("--n-ood", type=int, default=1000)
    a = parser.parse_args()
    if a.weights is None:
        parser.print_help()
        return
    card = json.loads((a.weights / "card.json").read_text())
    data = card["config"]["data"]
    model, net = import_clel(a.weights), load_pretrained(a.classifier)
    g = torch.Generator().manual_seed(0)
    train, _, levels = load_bytes(data, "train")
    test, classes, _ = load_bytes(data, "test")

    def features(x: torch.Tensor) -> torch.Tensor:
        return extract(x if x.is_floating_point() else x.float() / (levels - 1), net.features, batch_size=250)

    reference = features(train[torch.randperm(len(train), generator=g)[: a.reference]])
    sets = {"floor": test[: a.n], "noise": torch.rand(a.n, *test.shape[1:], generator=g)}
    if a.buffer is not None:
        sets = {"buffer": torch.load(a.buffer)["x"][: a.n], **sets}
    results: dict[str, float] = {"n": float(a.n), "reference": float(a.reference)}
    for name, x in sets.items():
        found = features(x)
        results[f"fd_{name}"] = frechet_distance(found, reference)
        results[f"kd_{name}"] = kernel_distance(found, reference)
    inside = (test[: a.n_ood].float() + 0.5) / levels
    outside = standard_sets(inside, classes[: a.n_ood], generator=g)
    for w in (0.0, 0.1):
        own = model.ood_score(inside, weight=w)
        for name, x in outside.items():
            d = detection(own, model.ood_score(x, weight=w), resamples=50, generator=g)
            results[f"auroc_{name}_w{w:g}"], results[f"auroc_{name}_w{w:g}_error"] = d.auroc, d.auroc_error
    card["results"] = {k: round(v, 4) for k, v in results.items()}
    (a.weights / "card.json").write_text(json.dumps(card, indent=1) + "\n")
    print(json.dumps(card["results"], indent=1))


if __name__ == "__main__":
    main()
