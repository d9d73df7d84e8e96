"""A classifier as an energy: in the plane the joint model's energy finds far points, that of cross-entropy alone points the wrong way."""

import pytest
import torch

from ebmlearn.energies.joint import ClassifierEnergy
from experiments.jem_2d import CLASSES, FAR, Truth, far_points, labelled, measure, train


def test_the_true_law_as_a_classifier(generator):
    model = ClassifierEnergy(Truth())
    x, y = labelled(2000, generator)
    torch.testing.assert_close(model.marginalise()(x), CLASSES(x), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(torch.softmax(model.logits(x), -1), CLASSES.responsibilities(x), rtol=1e-4, atol=1e-5)
    far = far_points(500, generator)
    assert len(far) == 500 and torch.cdist(far, CLASSES.means).amin() > FAR and far.abs().max() < 6
    m = measure(model, seed=0, n=2000)
    # three separate Gaussians: entropy log 3 + log(2 pi e sd²), less what little they overlap; standard error 1/sqrt(2000)
    assert m["held-out NLL"] == pytest.approx(1.0986 + 2.8379 - 1.5970, abs=0.13)
    assert m["log Z gained, box doubled"] == pytest.approx(0, abs=1e-5)
    assert m["AUROC of -E"] > 0.999 and m["AUROC of confidence"] < 0.5  # even the best classifier is surest far away


def test_the_joint_model_finds_far_points_and_keeps_its_accuracy():
    plain, joint = (measure(train(joint=j, seed=0, steps=150), seed=0, n=1000) for j in (False, True))
    print(plain, joint, sep="\n")
    assert plain["AUROC of -E"] < 0.5 and joint["AUROC of -E"] > 0.95
    assert joint["accuracy"] > plain["accuracy"] - 0.03 > 0.94
    assert joint["held-out NLL"] < plain["held-out NLL"] / 2
    assert plain["log Z gained, box doubled"] > 10 and abs(joint["log Z gained, box doubled"]) < 0.01
