"""The registry of names, the embedded digits, and the user's own data."""

import numpy as np
import pytest
import torch

from ebmlearn import datasets
from ebmlearn.datasets import dequantise, digits
from ebmlearn.datasets.files import DataError


def test_digits_split_and_values():
    from sklearn.datasets import load_digits

    (x, y), (tx, ty) = digits("train"), digits("test")
    assert x.shape == (1297, 1, 8, 8) and tx.shape == (500, 1, 8, 8)
    bunch = load_digits()
    order = np.random.RandomState(0).permutation(1797)
    assert np.array_equal((torch.cat([x, tx]) * 16).numpy()[:, 0], bunch.images[order])
    assert np.array_equal(torch.cat([y, ty]).numpy(), bunch.target[order])
    with pytest.raises(ValueError, match="'train' or 'test'"):
        digits("valid")


def test_dequantise_is_uniform_in_each_level_and_can_be_undone(generator):
    k = torch.arange(17.0).repeat(4000, 1)
    x = dequantise(k / 16, generator=generator)
    assert torch.equal(torch.floor(x * 17), k)
    u = x * 17 - k
    error = (1 / 12 / u.numel()) ** 0.5
    assert abs(float(u.mean()) - 0.5) < 5 * error
    assert abs(float(u.var()) - 1 / 12) < 5 * (1 / 180 / u.numel()) ** 0.5  # Var of (U - 1/2)² is 1/180
    with pytest.raises(ValueError, match="levels"):
        dequantise(k, levels=1)


def test_every_toy_and_the_digits_load_by_name():
    for name in datasets.toy.TOYS:
        train, test = datasets.load(name, limit=50), datasets.load(name, split="test", limit=50)
        assert train.x.shape == (50, 2) and train.levels is None and not torch.equal(train.x, test.x)
        assert torch.equal(train.x, datasets.load(name, limit=50).x)
        assert train.dequantised() is train.x
    d = datasets.load("digits", limit=5)
    assert len(d) == 5 and d.event_shape == (1, 8, 8) and d.levels == 17 and d.y.shape == (5,)
    assert not torch.equal(d.dequantised(), d.x)


@pytest.mark.parametrize("spelling", ["two_spirals", "two-spirals", "Two Spirals", "2spirals", "twospirals"])
def test_spellings(spelling):
    assert datasets.load(spelling, limit=2).name == "two_spirals"


def test_unknown_names_list_the_known():
    with pytest.raises(
        DataError, match=r"unknown data set 'fashon-mnist'; did you mean fashion_mnist.* Known: .*digits.*cifar10"
    ):
        datasets.load("fashon-mnist")
    with pytest.raises(DataError, match="no data at"):
        datasets.load("nowhere/x.npz")
    with pytest.raises(ValueError, match="'train' or 'test'"):
        datasets.load("digits", split="all")
    with pytest.raises(ValueError, match="limit"):
        datasets.load("digits", limit=0)


def test_own_arrays_and_tensors(tmp_path):
    x, y = np.random.RandomState(0).randn(50, 3), np.arange(50)
    np.savez(tmp_path / "a.npz", x=x, y=y)
    train, test = datasets.load(str(tmp_path / "a.npz")), datasets.load(str(tmp_path / "a.npz"), split="test")
    assert train.x.shape == (45, 3) and test.x.shape == (5, 3) and train.x.dtype == torch.float32
    assert sorted(torch.cat([train.y, test.y]).tolist()) == list(range(50))
    torch.testing.assert_close(test.x, torch.from_numpy(x[test.y.numpy()]).float())
    torch.save({"x": torch.from_numpy(x), "y": torch.from_numpy(y)}, tmp_path / "b.pt")
    assert torch.equal(datasets.load(str(tmp_path / "b.pt")).x, train.x)
    torch.save(torch.from_numpy(x), tmp_path / "c.pt")
    assert datasets.load(str(tmp_path / "c.pt")).y is None
    np.save(tmp_path / "c.npy", x)
    assert torch.equal(datasets.load(str(tmp_path / "c.npy")).x, train.x)
    np.savez(tmp_path / "d.npz", (np.arange(12 * 16) % 256).reshape(12, 1, 4, 4).astype(np.uint8))
    d = datasets.load(str(tmp_path / "d.npz"))
    assert d.levels == 256 and d.event_shape == (1, 4, 4) and float(d.x.max()) <= 1


def test_own_images(tmp_path):
    from PIL import Image

    for i in range(12):
        folder = tmp_path / "pictures" / "ab"[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("L", (6, 5), 10 * i).save(folder / f"{i:02d}.png")
    d = datasets.load(str(tmp_path / "pictures"))
    assert d.event_shape == (1, 5, 6) and set(d.y.tolist()) == {0, 1} and d.levels == 256
    grey = (d.x[:, 0, 0, 0] * 25.5).round().long()
    assert torch.equal(grey % 2, d.y)
    Image.new("L", (7, 5)).save(tmp_path / "pictures" / "b" / "99.png")
    with pytest.raises(DataError, match="all images must have one shape"):
        datasets.load(str(tmp_path / "pictures"))


class Evil:
    def __reduce__(self):
        return eval, ("1/0",)


def test_own_data_that_cannot_be_used(tmp_path):
    def save(**arrays):
        np.savez(tmp_path / "x.npz", **arrays)
        return str(tmp_path / "x.npz")

    for arrays, words in (
        ({"x": np.full((20, 2), np.nan)}, "NaN"),
        ({"x": np.zeros((3, 2))}, "at least 10"),
        ({"x": np.zeros((20, 2)), "y": np.zeros(3)}, "20 points and 3 classes"),
        ({"x": np.zeros((20, 2), dtype=np.int64)}, "floating points or bytes"),
        ({"a": np.zeros((20, 2)), "b": np.zeros((20, 2))}, "array named x"),
        ({"x": np.array([{}] * 20, dtype=object)}, "could not be read"),  # pickled inside: refused
    ):
        with pytest.raises(DataError, match=words):
            datasets.load(save(**arrays))
    np.save(tmp_path / "evil.npy", np.array([{}] * 20, dtype=object))
    with pytest.raises(DataError, match="could not be read as .npy"):
        datasets.load(str(tmp_path / "evil.npy"))
    torch.save({"x": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(DataError, match="could not be read as a saved tensor"):
        datasets.load(str(tmp_path / "evil.pt"))
    (tmp_path / "t.txt").write_text("1 2 3")
    with pytest.raises(DataError, match="expected an .npy or .npz"):
        datasets.load(str(tmp_path / "t.txt"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no images"):
        datasets.load(str(tmp_path / "empty"))
