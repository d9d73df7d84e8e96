"""Detection scores against scikit-learn and by hand; the sets that they are tried on."""

import math

import pytest
import torch
from sklearn.metrics import roc_auc_score, roc_curve

from ebmlearn.metrics.ood import auroc, detection, fpr_at_tpr, interpolated, mirrored, shuffled, standard_sets, swapped_patch


@pytest.mark.parametrize("ties", [False, True])
def test_auroc_and_fpr_against_sklearn(ties, generator):
    inside, outside = torch.randn(300, generator=generator) + 1, torch.randn(200, generator=generator)
    if ties:
        inside, outside = inside.round(), outside.round()
    scores = torch.cat([inside, outside]).numpy()
    labels = [1] * 300 + [0] * 200
    assert auroc(inside, outside) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    fpr, tpr, _ = roc_curve(labels, scores, drop_intermediate=False)
    assert fpr_at_tpr(inside, outside) == pytest.approx(fpr[tpr >= 0.95][0], abs=1e-12)


def test_two_normals_have_the_known_auroc(generator):
    # P(N(1,1) > N(0,1)) = Phi(1/sqrt 2); standard error at n = 2000 below 0.01
    expected = 0.5 * (1 + math.erf(0.5))
    inside, outside = torch.randn(2000, generator=generator) + 1, torch.randn(2000, generator=generator)
    d = detection(inside, outside, resamples=100, generator=generator)
    assert 0.002 < d.auroc_error < 0.02
    assert abs(d.auroc - expected) < 5 * d.auroc_error
    # FPR at 95 %: P(N(0,1) > 1 - 1.645)
    assert abs(d.fpr95 - 0.5 * (1 - math.erf((1 - 1.6449) / math.sqrt(2)))) < 5 * d.fpr95_error


def test_a_score_and_its_negative_add_up_to_one(generator):
    a, b = torch.randn(50, generator=generator), torch.randn(60, generator=generator)
    assert auroc(a, b) + auroc(-a, -b) == pytest.approx(1)
    assert auroc(a, a) == pytest.approx(0.5)


def test_swapped_patches_come_from_other_images(generator):
    x = torch.arange(6.0).reshape(6, 1, 1, 1).expand(6, 1, 8, 8).clone()
    y = swapped_patch(x, size=4, generator=generator)
    inside, border = y[:, :, 2:6, 2:6], y.clone()
    border[:, :, 2:6, 2:6] = x[:, :, 2:6, 2:6]
    assert torch.equal(border, x)
    assert (inside != x[:, :, 2:6, 2:6]).all()
    assert torch.equal(inside.amin((1, 2, 3)), inside.amax((1, 2, 3)))


def test_interpolations_mix_two_classes(generator):
    y = torch.tensor([0, 0, 1, 2, 2, 2])
    x = torch.nn.functional.one_hot(y, 3).float().reshape(6, 3, 1, 1)
    mixed = interpolated(x, y, generator=generator).flatten(1)
    assert torch.equal((mixed == 0.5).sum(-1), torch.full((6,), 2))
    assert torch.equal(mixed[torch.arange(6), y], torch.full((6,), 0.5))
    with pytest.raises(ValueError, match="two classes"):
        interpolated(x[:2], y[:2])


def test_shuffling_keeps_the_histogram(generator):
    x = torch.rand(4, 3, 5, 5, generator=generator)
    y = shuffled(x, generator=generator)
    assert torch.equal(x.flatten(1).sort(-1).values, y.flatten(1).sort(-1).values)
    # colours stay together: the set of pixels as triples is the same
    assert torch.allclose(x.prod(1).flatten(1).sort(-1).values, y.prod(1).flatten(1).sort(-1).values)
    assert not torch.equal(x, y)
    assert torch.equal(mirrored(mirrored(x)), x)


def test_standard_sets_have_the_shape_and_range_of_images(generator):
    x, y = torch.rand(10, 1, 8, 8, generator=generator), torch.arange(10) % 3
    for name, s in standard_sets(x, y, generator=generator).items():
        assert s.shape == x.shape and 0 <= s.min() and s.max() <= 1, name


def test_errors():
    with pytest.raises(ValueError, match="non-empty"):
        auroc(torch.zeros(0), torch.zeros(3))
    with pytest.raises(ValueError, match="finite"):
        auroc(torch.tensor([float("nan")]), torch.zeros(3))
    with pytest.raises(ValueError, match="tpr"):
        fpr_at_tpr(torch.zeros(3), torch.zeros(3), tpr=0.0)
