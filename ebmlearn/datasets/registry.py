"""One registry of data names: `load(name, split=...)`, or `load(path)` for your own data."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import images
from .digits import LEVELS, Split, dequantise, digits
from .files import DataError, root
from .toy import TOYS

TOY_SIZES = {"train": 10_000, "test": 2_000}
IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp"}


@dataclass(frozen=True)
class Data:
    """A loaded data set.

    Args:
        name: the registry's name, or the path of own data.
        x: points `[N, *event]`, float32; images `[N, C, H, W]` in [0, 1].
        y: classes `[N]`, int64, where there are any.
        levels: number of grey levels of the pixels, None for data that are real numbers to begin with.
    """

    name: str
    x: Tensor
    y: Tensor | None = None
    levels: int | None = None

    def __len__(self) -> int:
        return len(self.x)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The shape of one point."""
        return tuple(self.x.shape[1:])

    def dequantised(self, *, generator: torch.Generator | None = None) -> Tensor:
        """`x` with each grey level spread over its interval; `x` itself where there are no levels."""
        return self.x if self.levels is None else dequantise(self.x, levels=self.levels, generator=generator)


@dataclass(frozen=True)
class Entry:
    """What `ebmlearn data` prints about a name."""

    kind: str
    about: str
    load: Callable[[Split, int | None], Data]


def _toy(name: str) -> Callable[[Split, int | None], Data]:
    def load(split: Split, limit: int | None) -> Data:
        generator = torch.Generator().manual_seed(("train", "test").index(split))
        return Data(name, TOYS[name]().sample(limit or TOY_SIZES[split], generator=generator))

    return load


def _digits(split: Split, limit: int | None) -> Data:
    x, y = digits(split)
    return Data("digits", x[:limit], y[:limit], LEVELS)


def _images(name: str) -> Callable[[Split, int | None], Data]:
    def load(split: Split, limit: int | None) -> Data:
        x, y = images.load(name, split, limit=limit)
        return Data(name, x.float() / 255, y, 256)

    return load


REGISTRY: dict[str, Entry] = {
    **{name: Entry("toy", (make.__doc__ or "").splitlines()[0], _toy(name)) for name, make in TOYS.items()},
    "digits": Entry("embedded", "8x8 handwritten digits inside scikit-learn, 1297 train / 500 test", _digits),
    "mnist": Entry("download", "28x28 grey digits, 60000 / 10000, 11 MB", _images("mnist")),
    "fashion_mnist": Entry("download", "28x28 grey clothes, 60000 / 10000, 30 MB", _images("fashion_mnist")),
    "cifar10": Entry("download", "32x32 colour, 10 classes, 50000 / 10000, 170 MB", _images("cifar10")),
    "svhn": Entry("download", "32x32 colour house numbers, 73257 / 26032, 250 MB", _images("svhn")),
    "celeba": Entry("by hand", "faces, read at 64x64 from your own img_align_celeba.zip", _images("celeba")),
}
ALIASES = {
    "8gaussians": "eight_gaussians",
    "25gaussians": "twenty_five_gaussians",
    "2spirals": "two_spirals",
    "spirals": "two_spirals",
    "cifar": "cifar10",
}


def names() -> list[str]:
    """Every name that `load` knows."""
    return list(REGISTRY)


def load(name: str, *, split: Split = "train", limit: int | None = None) -> Data:
    """The data set `name`, or your own data at the path `name`.

    Own data are an `.npz` file (array `x`, perhaps `y`), an `.npy` file (`x` alone), a saved tensor (`.pt`: a tensor, or
    a dict with `x`, perhaps `y`), or a folder of images of one size, whose sub-folders, if any, are the classes. A fixed
    tenth is the test split.

    Args:
        name: a name of `names()` (`-` and `_` and capitals do not matter), or a path.
        split: "train" or "test".
        limit: the first so many points only.

    Raises:
        DataError: an unknown name (lists the known), a file that is missing, damaged or of the wrong kind.
        ValueError: another split, or limit < 1.

    Example:
        >>> load("digits", split="test").x.shape
        torch.Size([500, 1, 8, 8])
        >>> load("two-spirals", limit=100).event_shape
        (2,)
    """
    if split not in ("train", "test"):
        raise ValueError(f"expected split 'train' or 'test'; got {split!r}")
    if limit is not None and limit < 1:
        raise ValueError(f"expected limit >= 1; got {limit}")
    key = canonical(name)
    if key in REGISTRY:
        return REGISTRY[key].load(split, limit)
    path = Path(name).expanduser()
    if path.exists():
        return _own(path, split, limit)
    if path.suffix in {".npy", ".npz", ".pt"} or len(path.parts) > 1:
        raise DataError(f"no data at {path}: expected an .npy or .npz file, a saved tensor (.pt), or a folder of images")
    close = difflib.get_close_matches(key, REGISTRY, n=1)
    hint = f"; did you mean {close[0]}?" if close else "."
    raise DataError(f"unknown data set {name!r}{hint} Known: {', '.join(names())}; or the path of your own data")


def canonical(name: str) -> str:
    """The registry's spelling of a name: `Fashion-MNIST` is `fashion_mnist`."""
    plain = re.sub(r"[-\s]+", "_", name.strip().lower())
    if plain in REGISTRY:
        return plain
    squeezed = plain.replace("_", "")
    return ALIASES.get(squeezed, {n.replace("_", ""): n for n in REGISTRY}.get(squeezed, plain))


def _own(path: Path, split: Split, limit: int | None) -> Data:
    if path.is_dir():
        x, y = _read_folder(path)
    elif path.suffix in {".npy", ".npz"}:
        x, y = _read_npz(path)
    elif path.suffix in {".pt", ".pth"}:
        x, y = _read_tensor(path)
    else:
        raise DataError(f"{path}: expected an .npy or .npz file, a saved tensor (.pt), or a folder of images")
    levels = None
    if x.dtype == torch.uint8:
        x, levels = x.float() / 255, 256
    if not x.is_floating_point():
        raise DataError(f"{path}: expected floating points or bytes; got {x.dtype}")
    if x.ndim < 2 or len(x) < 10:
        raise DataError(f"{path}: expected at least 10 points of shape [N, *event]; got {tuple(x.shape)}")
    if y is not None and len(y) != len(x):
        raise DataError(f"{path}: {len(x)} points and {len(y)} classes")
    if not bool(torch.isfinite(x).all()):
        raise DataError(f"{path}: some numbers are NaN or infinite")
    order = torch.from_numpy(np.random.RandomState(0).permutation(len(x)))
    n_test = len(x) // 10
    rows = (order[n_test:] if split == "train" else order[:n_test])[:limit]
    return Data(str(path), x[rows].float(), None if y is None else y[rows].long(), levels)


def _read_npz(path: Path) -> tuple[Tensor, Tensor | None]:
    try:
        found = np.load(path, allow_pickle=False)
        if isinstance(found, np.ndarray):  # .npy
            return torch.from_numpy(found), None
        with found as table:
            keys = list(table)
            if "x" not in keys and len(keys) != 1:
                raise DataError(f"{path}: expected an array named x; got {keys}")
            x = torch.from_numpy(table["x" if "x" in keys else keys[0]])
            y = torch.from_numpy(table["y"]) if "y" in keys and "x" in keys else None
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"{path} could not be read as .npy or .npz ({type(error).__name__}: {error})") from error
    return x, y


def _read_tensor(path: Path) -> tuple[Tensor, Tensor | None]:
    try:
        saved: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise DataError(f"{path} could not be read as a saved tensor ({type(error).__name__})") from error
    if isinstance(saved, Tensor):
        return saved, None
    if isinstance(saved, dict) and isinstance(saved.get("x"), Tensor):
        return saved["x"], saved.get("y")
    raise DataError(f"{path}: expected a tensor, or a dict with a tensor x (and perhaps y); got {type(saved).__name__}")


def _read_folder(path: Path) -> tuple[Tensor, Tensor | None]:
    from PIL import Image

    found = sorted(p for p in path.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
    if not found:
        raise DataError(f"{path}: no images ({', '.join(sorted(IMAGE_SUFFIXES))}) in this folder or below")
    arrays = []
    for file in found:
        with Image.open(file) as picture:
            a = np.asarray(picture.convert("L" if picture.mode in ("1", "L", "I", "I;16") else "RGB"))
        arrays.append(a[None] if a.ndim == 2 else a.transpose(2, 0, 1))
        if arrays[-1].shape != arrays[0].shape:
            raise DataError(
                f"{path}: all images must have one shape; {found[0].name} is {arrays[0].shape}, {file.name} {arrays[-1].shape}"
            )
    classes = sorted({p.parent for p in found})
    y = torch.tensor([classes.index(p.parent) for p in found]) if len(classes) > 1 else None
    return torch.from_numpy(np.stack(arrays)), y


def available(name: str) -> bool:
    """Whether `load(name)` would work without a download (the hash is not looked at)."""
    if REGISTRY[name].kind in ("toy", "embedded"):
        return True
    return all((root() / f.folder / f.name).exists() for s in ("train", "test") for f in images.official_files(name, s))  # type: ignore[arg-type]
