"""The explorer of lesson 13: its closed forms against sampling, its picture and its words."""

import math

import matplotlib
import pytest
import torch
from matplotlib.figure import Figure

from ebmlearn.metrics.ood import auroc, fpr_at_tpr
from ebmlearn.widgets.lesson13 import ScoreExplorer, binormal, draw_scores

matplotlib.use("Agg")


@pytest.mark.parametrize("gap, spread", [(1.5, 1.0), (0.7, 0.4), (2.5, 3.0), (-1.0, 1.0)])
def test_closed_forms_against_samples(gap, spread, generator):
    n, tests = 100, 500
    inside = gap + torch.randn(tests, n, generator=generator)
    outside = spread * torch.randn(tests, n, generator=generator)
    areas = torch.tensor([auroc(a, b) for a, b in zip(inside, outside, strict=True)])
    exact = binormal(gap, spread, 0.1, n)
    assert abs(areas.mean() - exact.auroc) < 5 * exact.auroc_error / math.sqrt(tests)
    assert abs(areas.std() / exact.auroc_error - 1) < 5 / math.sqrt(2 * tests)  # relative error of a standard deviation
    fpr = fpr_at_tpr(inside.flatten(), outside.flatten())
    # threshold and share both have an error, of at most 1/2 each over sqrt(n)
    assert abs(fpr - exact.fpr95) < 5 * (1 + 5 / spread) * 0.5 / math.sqrt(n * tests)


def test_right_alarms_by_bayes():
    d = binormal(2.0, 1.0, 0.01, 50)
    assert d.right_alarms == pytest.approx(0.01 * (1 - d.fpr95) / (0.01 * (1 - d.fpr95) + 0.99 * 0.05))
    with pytest.raises(ValueError, match="spread"):
        binormal(1.0, 0.0, 0.1, 50)


def test_the_explorer_draws_again_and_says_what_it_draws():
    text = draw_scores(Figure().subplots(1, 2), gap=0.0, spread=1.0, outside_share=0.5, n=100)
    assert text.startswith("AUROC 0.500") and "50.0% of the alarms" in text
    explorer = ScoreExplorer()
    first = explorer.text
    explorer.controls["gap"].value = 4.0
    assert explorer.text != first and "AUROC 0.998" in explorer.text
