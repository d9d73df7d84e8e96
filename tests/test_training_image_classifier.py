"""The feature classifier of images: its augmentation, that it learns, its slim weights."""

import pytest
import torch

from ebmlearn.training import image_classifier
from ebmlearn.training.image_classifier import (
    accuracy,
    classifier_preset,
    erased,
    export_classifier,
    import_classifier,
    shifted,
    train_image_classifier,
)


@pytest.fixture
def stripes(monkeypatch):
    """Two classes of 16 x 16 bytes: a bright bar at the top or at the bottom, in noise."""

    def load(data, split):
        g = torch.Generator().manual_seed(0 if split == "train" else 1)
        n = 256 if split == "train" else 64
        y = torch.arange(n) % 2
        x = torch.randint(0, 100, (n, 1, 16, 16), generator=g)
        x[y == 0, :, 2:6] += 120
        x[y == 1, :, 10:14] += 120
        return x.to(torch.uint8), y, 256

    monkeypatch.setattr(image_classifier, "load_bytes", load)


def test_shift_moves_bytes_by_whole_pixels_and_reflects(generator):
    x = torch.arange(64, dtype=torch.uint8).reshape(1, 1, 8, 8).expand(200, 1, 8, 8)
    y = shifted(x, 2, generator)
    assert y.dtype == torch.uint8 and y.shape == x.shape
    padded = torch.nn.functional.pad(x[:1].float(), (2, 2, 2, 2), mode="reflect")[0, 0]
    windows = {tuple(padded[i : i + 8, j : j + 8].flatten().tolist()) for i in range(5) for j in range(5)}
    windows |= {tuple(torch.tensor(w).reshape(8, 8).flip(-1).flatten().tolist()) for w in windows}
    found = {tuple(v) for v in y.flatten(1).float().tolist()}
    assert found <= windows
    assert len(found) > 40  # of 50 possible windows


def test_erased_square_is_grey_and_at_most_its_size(generator):
    y = erased(torch.ones(100, 1, 8, 8), 4, generator)
    count = (y == 0.5).sum((1, 2, 3))
    assert count.max() == 16 and count.min() >= 4
    assert ((y == 0.5) | (y == 1)).all()


def test_it_learns_two_classes_and_its_weights_come_back(stripes, tmp_path):
    config = image_classifier.ImageClassifierConfig(
        data="stripes", epochs=6, batch_size=64, width=4, learning_rate=0.1, erase=0, shift=1
    )
    losses = []
    net, result = train_image_classifier(config, on_log=lambda epoch, loss: losses.append(loss))
    assert result["test_accuracy"] >= 0.9  # chance 0.5
    assert len(losses) == 6 and losses[-1] < losses[0]
    export_classifier(net, config, tmp_path, {"data": "stripes"})
    again = import_classifier(tmp_path)
    x, y, _ = image_classifier.load_bytes("stripes", "test")
    assert abs(accuracy(again, x, y) - result["test_accuracy"]) <= 0.05
    f, g = (m.eval().features(x.float() / 255) for m in (net, again))
    assert f.shape == (64, 32)
    assert (f - g).norm() / f.norm() < 0.02  # bfloat16 weights
    one = again.features(x[:1].float() / 255)
    assert torch.allclose(one, g[:1], atol=1e-5)  # features do not depend on the batch
    path = tmp_path / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(ValueError, match="hash"):
        import_classifier(tmp_path)


def test_time_limit_ends_after_an_epoch(stripes):
    config = image_classifier.ImageClassifierConfig(data="stripes", epochs=50, batch_size=64, width=2)
    _, result = train_image_classifier(config, max_minutes=1e-9, limit=64)
    assert result["epochs"] == 1
    assert classifier_preset("fashion_mnist").width == 24
