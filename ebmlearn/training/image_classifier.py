"""A classifier of small images, trained in a minute or two on a GPU: its penultimate features are the space of our Frechet distances."""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..networks.encoder import ResNetEncoder, channels_last
from .clel_model import load_bytes
from .engine import fused_sgd, prepare_device
from .state import plain
from .weights import read_tensors, slim, write_card, write_tensors


@dataclass(frozen=True, kw_only=True)
class ImageClassifierConfig:
    """Hyperparameters of the feature classifier.

    Args:
        data: "cifar10", "fashion_mnist" or "mnist".
        seed: of parameters, batch order and augmentation.
        epochs: passes over the data; the learning rate rises for 20 % of them, then falls to 0.
        batch_size: images an update.
        width: channels of the first stage of the ResNet; the features have 8 times as many.
        learning_rate: peak, for Nesterov SGD.
        weight_decay: weight decay.
        label_smoothing: mass moved from the true class to all.
        shift: random shift in whole pixels, reflected at the border.
        erase: side of a blank square; 0 is none.
    """

    data: str = "cifar10"
    seed: int = 0
    epochs: int = 40
    batch_size: int = 512
    width: int = 48
    learning_rate: float = 0.4
    weight_decay: float = 5e-4
    label_smoothing: float = 0.1
    shift: int = 4
    erase: int = 8


def classifier_preset(data: str) -> ImageClassifierConfig:
    """The settings to start from."""
    if data == "cifar10":
        return ImageClassifierConfig()
    return ImageClassifierConfig(data=data, epochs=15, width=24, shift=2, erase=6)


def shifted(x: Tensor, shift: int, generator: torch.Generator) -> Tensor:
    """Each image moved by whole pixels, up to `shift` in both directions, and mirrored with probability 1/2; bytes stay bytes."""
    b, _, h, w = x.shape
    device = x.device
    dy, dx = torch.randint(-shift, shift + 1, (2, b, 1), device=device, generator=generator)
    rows = (torch.arange(h, device=device) + dy).abs()
    columns = (torch.arange(w, device=device) + dx).abs()
    rows, columns = h - 1 - (h - 1 - rows).abs(), w - 1 - (w - 1 - columns).abs()
    mirror = torch.rand(b, 1, device=device, generator=generator) < 0.5
    columns = torch.where(mirror, w - 1 - columns, columns)
    index = torch.arange(b, device=device).reshape(b, 1, 1)
    return x.permute(0, 2, 3, 1)[index, rows.unsqueeze(2), columns.unsqueeze(1)].permute(0, 3, 1, 2)


def erased(x: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """One square of each image set to 1/2."""
    b, _, h, w = x.shape
    top = torch.randint(0, h, (b, 1, 1, 1), device=x.device, generator=generator) - size // 2
    left = torch.randint(0, w, (b, 1, 1, 1), device=x.device, generator=generator) - size // 2
    rows = torch.arange(h, device=x.device).reshape(1, 1, h, 1) - top
    columns = torch.arange(w, device=x.device).reshape(1, 1, 1, w) - left
    return torch.where((rows >= 0) & (rows < size) & (columns >= 0) & (columns < size), 0.5, x)


@torch.no_grad()
def accuracy(net: nn.Module, x: Tensor, y: Tensor, *, batch: int = 1000) -> float:
    """Fraction of images whose class is right; x are bytes."""
    net.eval()
    right = [(net(b.float() / 255).argmax(-1) == t).sum() for b, t in zip(x.split(batch), y.split(batch), strict=True)]
    return float(sum(right)) / len(x)  # type: ignore[arg-type]


def train_image_classifier(
    config: ImageClassifierConfig,
    *,
    device: str = "cpu",
    max_minutes: float | None = None,
    limit: int | None = None,
    on_log: Any = None,
) -> tuple[ResNetEncoder, dict[str, float]]:
    """Train; return the network and its test accuracy, seconds and epochs.

    Args:
        max_minutes: the schedule is stretched over this time at most: later epochs are dropped, the last learning rate is not 0 then.
        limit: train on the first so many images only.
        on_log: called with (epoch, loss) after each epoch.
    """
    torch.manual_seed(config.seed)
    place = torch.device(device)
    prepare_device(place)
    x, y, _ = load_bytes(config.data, "train")
    x, y = x[:limit].to(place), y[:limit].to(place)
    generator = torch.Generator(place).manual_seed(config.seed)
    net = channels_last(
        ResNetEncoder(in_channels=x.shape[1], width=config.width, hidden_features=None, out_features=10).to(place)
    )
    optimizer = fused_sgd(list(net.parameters()), lr=config.learning_rate, momentum=0.9, weight_decay=config.weight_decay)
    for group in optimizer.param_groups:
        group["nesterov"] = True
    size = min(config.batch_size, len(x))
    per_epoch = len(x) // size
    total, done = config.epochs * per_epoch, 0
    began = time.monotonic()
    epoch = 0
    for epoch in range(1, config.epochs + 1):
        net.train()
        order = torch.randperm(len(x), device=place, generator=generator)
        losses = torch.zeros((), device=place)
        for i in range(per_epoch):
            rows = order[i * size : (i + 1) * size]
            images = shifted(x[rows], config.shift, generator).float() / 255
            if config.erase:
                images = erased(images, config.erase, generator)
            rise = 0.2 * total
            rate = (done + 1) / rise if done < rise else 0.5 * (1 + math.cos(math.pi * (done - rise) / (total - rise)))
            for group in optimizer.param_groups:
                group["lr"] = config.learning_rate * min(rate, 1.0)
            with torch.autocast(place.type, torch.bfloat16, enabled=place.type == "cuda"):
                logits = net(images.contiguous(memory_format=torch.channels_last))
            loss = F.cross_entropy(logits.float(), y[rows], label_smoothing=config.label_smoothing)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses += loss.detach()
            done += 1
        if on_log is not None:
            on_log(epoch, float(losses) / per_epoch)
        if max_minutes is not None and time.monotonic() - began > 60 * max_minutes:
            break
    seconds = time.monotonic() - began
    tx, ty, _ = load_bytes(config.data, "test")
    return net, {"test_accuracy": accuracy(net, tx.to(place), ty.to(place)), "seconds": seconds, "epochs": float(epoch)}  # type: ignore[return-value]


def export_classifier(net: nn.Module, config: ImageClassifierConfig, folder: Path, card: dict[str, object]) -> None:
    """Slim weights and the card with their hashes."""
    sums = write_tensors(Path(folder), slim(net.state_dict()))
    write_card(Path(folder), {"kind": "image-classifier", "config": plain(config), "sha256": sums, **card})


def import_classifier(folder: Path) -> ResNetEncoder:
    """Read what `export_classifier` wrote, hash verified; `.features(x)` maps images in [0, 1] to `[N, 8 width]`."""
    folder = Path(folder)
    card = json.loads((folder / "card.json").read_text())
    tensors = read_tensors(folder, card["sha256"])
    net = ResNetEncoder(
        in_channels=tensors["stem.0.weight"].shape[1], width=card["config"]["width"], hidden_features=None, out_features=10
    )
    own = net.state_dict()
    net.load_state_dict({k: v.to(own[k].dtype) for k, v in tensors.items()})
    return net.eval().requires_grad_(False)  # type: ignore[return-value]
