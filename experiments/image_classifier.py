"""Train the classifier whose features our Frechet distances use: python -m experiments.image_classifier --data cifar10 --out runs/classifier-cifar10"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from ebmlearn.training.clel_model import load_bytes
from ebmlearn.training.image_classifier import (
    accuracy,
    classifier_preset,
    export_classifier,
    import_classifier,
    train_image_classifier,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", choices=("cifar10", "fashion_mnist", "mnist"), help="without it, this help")
    parser.add_argument("--out", type=Path, default=Path("runs/image-classifier"))
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--width", type=int)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--max-minutes", type=float)
    parser.add_argument("--limit", type=int, help="train on the first so many images only")
    a = parser.parse_args()
    if a.data is None:
        parser.print_help()
        return
    chosen = {k: v for k, v in (("epochs", a.epochs), ("width", a.width), ("batch_size", a.batch_size)) if v is not None}
    config = replace(classifier_preset(a.data), seed=a.seed, **chosen)
    net, result = train_image_classifier(
        config,
        device=a.device,
        max_minutes=a.max_minutes,
        limit=a.limit,
        on_log=lambda e, loss: print(f"epoch {e:3d}  loss {loss:.4f}", flush=True),
    )
    name = torch.cuda.get_device_name() if a.device.startswith("cuda") else "CPU"
    command = (
        f"python -m experiments.image_classifier --data {a.data} --epochs {config.epochs} --width {config.width} --seed {a.seed}"
    )
    export_classifier(net, config, a.out, {"command": command, "device": name, "torch": torch.__version__, **result})
    x, y, _ = load_bytes(a.data, "test")
    x, y = (x[:200], y[:200]) if a.limit else (x, y)
    shipped = accuracy(import_classifier(a.out).to(a.device), x.to(a.device), y.to(a.device))
    print(
        f"{a.data}: test accuracy {result['test_accuracy']:.4f} ({shipped:.4f} from the weights written to {a.out}), {result['seconds']:.0f} s"
    )


if __name__ == "__main__":
    main()
