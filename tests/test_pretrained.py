"""Shipped weights: verified, described by their cards, and as good as the cards say."""

import hashlib
import json
import math
import shutil

import pytest
import torch

from ebmlearn.datasets import dequantise, digits
from ebmlearn.metrics.images import FLOOR, report
from ebmlearn.networks.classifier import ConvClassifier
from ebmlearn.pretrained import WeightsError, load_pretrained, pretrained_names, read_card
from ebmlearn.resources import resource


@pytest.fixture
def copy(tmp_path):
    shutil.copytree(resource("data/checkpoints/digits-classifier"), tmp_path / "copy")
    return tmp_path / "copy"


def change(folder, **entries):
    card = json.loads((folder / "card.json").read_text())
    card.update(entries)
    (folder / "card.json").write_text(json.dumps(card))


def test_the_card_says_what_is_true():
    assert "digits-classifier" in pretrained_names()
    card, net = read_card("digits-classifier"), load_pretrained("digits-classifier")
    assert not net.training and not any(p.requires_grad for p in net.parameters())
    x, y = digits("test")
    x = dequantise(x, generator=torch.Generator().manual_seed(0))
    logits = net(x)
    accuracy = float((logits.argmax(-1) == y).float().mean())
    assert accuracy == pytest.approx(card["results"]["test_accuracy"], abs=0.003) and accuracy >= 0.98
    assert float(logits.softmax(-1).max(-1).values.mean()) == pytest.approx(card["results"]["test_confidence"], abs=1e-3)
    text = (resource("data/checkpoints/digits-classifier") / "card.md").read_text()
    for must in (card["sha256"]["weights.safetensors"], card["command"], "Licence", "Limits", f"{accuracy:.3f}"):
        assert must in text


def test_its_features_tell_digits_from_a_gaussian_and_from_noise():
    net = load_pretrained("digits-classifier")
    g = torch.Generator().manual_seed(0)
    train, test = (dequantise(digits(s)[0], generator=g) for s in ("train", "test"))
    flat = train.flatten(1)
    factor = torch.linalg.cholesky(flat.T.cov() + 1e-5 * torch.eye(64))
    gaussian = (flat.mean(0) + torch.randn(500, 64, generator=g) @ factor.T).clamp(0, 1).reshape(-1, 1, 8, 8)
    noise = torch.rand(500, 1, 8, 8, generator=g)
    r = report({"gaussian": gaussian, "noise": noise}, train=train, test=test, features=net.features, logits=net)
    assert r[FLOOR].frechet < 20 < 60 < r["gaussian"].frechet < 250 < r["noise"].frechet
    assert r[FLOOR].confidence > 0.97 > 0.9 > r["gaussian"].confidence
    assert r[FLOOR].entropy == pytest.approx(math.log(10), abs=0.03)


def test_a_changed_byte_is_refused(copy):
    body = bytearray((copy / "weights.safetensors").read_bytes())
    body[-1] ^= 1
    (copy / "weights.safetensors").write_bytes(body)
    with pytest.raises(WeightsError, match="was not loaded"):
        load_pretrained(str(copy))


def test_other_damage_says_what_is_wrong(copy):
    assert torch.equal(next(load_pretrained(str(copy)).parameters()), next(load_pretrained("digits-classifier").parameters()))
    change(copy, config={"in_channels": 3, "size": 8, "n_classes": 10, "width": 16, "features": 64})
    with pytest.raises(WeightsError, match="do not fit"):
        load_pretrained(str(copy))
    change(copy, kind="transformer")
    with pytest.raises(WeightsError, match=r"unknown kind 'transformer'; known: .*conv-classifier"):
        load_pretrained(str(copy))
    (copy / "weights.safetensors").unlink()
    with pytest.raises(WeightsError, match="missing"):
        load_pretrained(str(copy))
    (copy / "card.json").write_text("{}")
    with pytest.raises(WeightsError, match="lacks"):
        load_pretrained(str(copy))


def test_unknown_names_list_the_known():
    with pytest.raises(WeightsError, match="unknown model 'resnet'; known: .*digits-classifier"):
        load_pretrained("resnet")


@pytest.mark.parametrize("name", pretrained_names())
def test_every_card_is_whole_and_every_hash_right(name):
    card = read_card(name)
    folder = resource(f"data/checkpoints/{name}")
    assert card["command"] and card["sha256"]
    for file, sha in card["sha256"].items():
        assert hashlib.sha256((folder / file).read_bytes()).hexdigest() == sha
        assert file.endswith(".safetensors")


def test_classifier_network():
    net = ConvClassifier(in_channels=3, size=9, n_classes=4, width=4, features=12)
    x = torch.rand(2, 5, 3, 9, 9)
    assert net(x).shape == (2, 5, 4) and net.features(x).shape == (2, 5, 12)
    torch.testing.assert_close(net(x[1, 2]), net(x)[1, 2])  # no image sees its neighbours
    with pytest.raises(ValueError, match=r"expected images of shape \[\*batch, 3, 9, 9\]; got \(2, 3, 8, 8\)"):
        net(torch.rand(2, 3, 8, 8))
