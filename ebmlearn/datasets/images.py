"""MNIST, Fashion-MNIST, CIFAR-10, SVHN and CelebA in their official formats, read by our own readers after the hash is checked."""

from __future__ import annotations

import gzip
import io
import pickle
import re
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .digits import Split
from .files import DataError, Official, verified

_MNIST = "https://ossci-datasets.s3.amazonaws.com/mnist/"
_FASHION = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
_IDX = {
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}
_IDX_MD5 = {
    "mnist": {
        "train": ("f68b3c2dcbeaaa9fbdd348bbdeb94873", "d53e105ee54ea40749a09fcbcd1e9432"),
        "test": ("9fb629c4189551a2d022fa330f9573f3", "ec29112dd5afa0611ce80d1b7f02629c"),
    },
    "fashion_mnist": {
        "train": ("8d4fb7e6c68d591d4c3dfef9ec88bf0d", "25c81989df183df01b3e8a0aad5dffbe"),
        "test": ("bef4ecab320f06d8554ea6380940ec79", "bb300cfdad3c16e7a12a480ee83cd310"),
    },
}


def _idx_files(name: str, base: str, split: Split) -> list[Official]:
    return [Official(name, f, md5, base + f) for f, md5 in zip(_IDX[split], _IDX_MD5[name][split], strict=True)]


def official_files(name: str, split: Split) -> list[Official]:
    """The official files that `load(name, split)` reads."""
    if split not in ("train", "test"):
        raise ValueError(f"expected split 'train' or 'test'; got {split!r}")
    if name == "mnist":
        return _idx_files(name, _MNIST, split)
    if name == "fashion_mnist":
        return _idx_files(name, _FASHION, split)
    if name == "cifar10":
        url = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
        return [Official(name, "cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a", url)]
    if name == "svhn":
        md5 = {"train": "e26dedcc434d2e4c54c9b2d4a06d8373", "test": "eb5a983be6a315427106f1b164d9cef3"}[split]
        return [Official(name, f"{split}_32x32.mat", md5, f"http://ufldl.stanford.edu/housenumbers/{split}_32x32.mat")]
    if name == "celeba":
        source = "img_align_celeba.zip from the CelebA page of the Multimedia Laboratory (CUHK)"
        return [Official(name, "img_align_celeba.zip", "00d2c5bc6d35e252742224ab0c1e8fcb", source=source)]
    raise DataError(f"unknown image set {name!r}; known: {', '.join(READERS)}")


def load(name: str, split: Split = "train", *, limit: int | None = None) -> tuple[Tensor, Tensor | None]:
    """An image set as bytes; `datasets.load` gives the same as floats in [0, 1].

    Args:
        name: "mnist", "fashion_mnist", "cifar10", "svhn" or "celeba".
        split: "train" or "test".
        limit: the first so many images only.

    Returns:
        Images `[N, C, H, W]` uint8 and classes `[N]` int64 (None for CelebA, read at 64 x 64).

    Raises:
        DataError: a file is missing and cannot be fetched, or its hash is wrong.

    References:
        Gradient-based learning applied to document recognition (LeCun, Bottou, Bengio, Haffner, 1998).
        Fashion-MNIST: a novel image dataset for benchmarking machine learning algorithms (Xiao, Rasul, Vollgraf, 2017).
        Learning multiple layers of features from tiny images (Krizhevsky, 2009).
        Reading digits in natural images with unsupervised feature learning (Netzer et al., 2011).
        Deep learning face attributes in the wild (Liu, Luo, Wang, Tang, 2015).
    """
    files = official_files(name, split)
    paths = [verified(f) for f in files]
    return READERS[name](paths, split, limit)


def read_idx(path: Path) -> np.ndarray:
    """The array of unsigned bytes in a gzipped idx file.

    Raises:
        DataError: not an idx file of bytes, or shorter than its header says.
    """
    try:
        with gzip.open(path, "rb") as file:
            head = file.read(4)
            if len(head) < 4 or head[:3] != b"\0\0\x08":
                raise DataError(f"{path} is not an idx file of unsigned bytes: it begins with {head!r}")
            shape = struct.unpack(f">{head[3]}I", file.read(4 * head[3]))
            body = file.read()
    except (OSError, EOFError, struct.error) as error:
        raise DataError(f"{path} is truncated or not gzip: {error}") from error
    if len(body) != int(np.prod(shape)):
        raise DataError(f"{path} promises {shape} bytes and holds {len(body)}")
    return np.frombuffer(body, dtype=np.uint8).reshape(shape)


def _read_mnist(paths: list[Path], split: Split, limit: int | None) -> tuple[Tensor, Tensor]:
    x, y = (read_idx(p)[:limit] for p in paths)
    if len(x) != len(y):
        raise DataError(f"{paths[0]} holds {len(x)} images, {paths[1]} {len(y)} classes")
    return torch.from_numpy(x.copy()).unsqueeze(1), torch.from_numpy(y.astype(np.int64))


class ArrayUnpickler(pickle.Unpickler):
    """Unpickles dicts of NumPy arrays and nothing else; every other global is an error, before it can run.

    NumPy 2 renamed the module of `_reconstruct`; old pickles say numpy.core, new ones numpy._core, and both are read.
    """

    allowed = frozenset(
        {
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),
            ("numpy.core.numeric", "_frombuffer"),
            ("numpy._core.numeric", "_frombuffer"),
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
            ("_codecs", "encode"),
        }
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.allowed:
            raise DataError(f"the file asks for {module}.{name}, which is not on the list of allowed names; it was not loaded")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def read_cifar_batch(data: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Images `[N, 3, 32, 32]` uint8 and classes `[N]` of one CIFAR-10 batch; call it on verified bytes only."""
    batch = ArrayUnpickler(io.BytesIO(data), encoding="bytes").load()
    batch = {k.decode() if isinstance(k, bytes) else k: v for k, v in batch.items()}
    x = np.asarray(batch["data"], dtype=np.uint8).reshape(-1, 3, 32, 32)
    return x, np.asarray(batch["labels"], dtype=np.int64)


def _read_cifar(paths: list[Path], split: Split, limit: int | None) -> tuple[Tensor, Tensor]:
    names = ["test_batch"] if split == "test" else [f"data_batch_{i}" for i in range(1, 6)]
    found: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def enough() -> bool:
        first = [found[name] for name in names[: next((i for i, n in enumerate(names) if n not in found), len(names))]]
        return len(first) == len(names) or (limit is not None and sum(len(x) for x, _ in first) >= limit)

    with tarfile.open(paths[0], "r|gz") as archive:  # one pass: going back would decompress everything again
        for member in archive:
            name = Path(member.name).name
            file = archive.extractfile(member) if name in names else None
            if file is not None:
                found[name] = read_cifar_batch(file.read())
                if enough():
                    break
    if not enough():
        raise DataError(f"{paths[0]} lacks {', '.join(n for n in names if n not in found)}")
    parts = [found[name] for name in names if name in found]
    x, y = (np.concatenate([part[i] for part in parts])[:limit] for i in (0, 1))
    return torch.from_numpy(x), torch.from_numpy(y)


def _read_svhn(paths: list[Path], split: Split, limit: int | None) -> tuple[Tensor, Tensor]:
    from scipy.io import loadmat

    table = loadmat(str(paths[0]), variable_names=["X", "y"])
    x = np.ascontiguousarray(table["X"].transpose(3, 2, 0, 1)[:limit])
    y = table["y"].reshape(-1)[:limit].astype(np.int64) % 10  # the file writes the digit 0 as 10
    return torch.from_numpy(x), torch.from_numpy(y)


def _read_celeba(paths: list[Path], split: Split, limit: int | None) -> tuple[Tensor, None]:
    from PIL import Image

    # the authors' partition by image number: 1-162770 train, 162771-182637 validation, the rest test
    first, last = (1, 162_770) if split == "train" else (182_638, 202_599)
    images = []
    with zipfile.ZipFile(paths[0]) as archive:
        for name in sorted(archive.namelist()):
            number = re.fullmatch(r"(?:.*/)?(\d{6})\.jpg", name)
            if number is None or not first <= int(number[1]) <= last:
                continue
            with Image.open(io.BytesIO(archive.read(name))) as picture:
                width, height = picture.size
                side = min(width, height)
                left, top = (width - side) // 2, (height - side) // 2
                square = picture.convert("RGB").crop((left, top, left + side, top + side))
                images.append(np.asarray(square.resize((64, 64), Image.Resampling.BILINEAR)))
            if limit is not None and len(images) == limit:
                break
    if not images:
        raise DataError(f"{paths[0]} holds no image of the {split} split (files NNNNNN.jpg, {first:06d} to {last:06d})")
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous(), None


READERS: dict[str, Callable[[list[Path], Split, int | None], tuple[Tensor, Tensor | None]]] = {
    "mnist": _read_mnist,
    "fashion_mnist": _read_mnist,
    "cifar10": _read_cifar,
    "svhn": _read_svhn,
    "celeba": _read_celeba,
}
