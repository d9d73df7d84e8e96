"""Lesson 08: what its experiment measures, and closed forms behind its text."""

import math

import pytest
import torch

from ebmlearn.energies import Gaussian, GaussianMixture
from ebmlearn.functional import score
from ebmlearn.objectives import noise_contrastive, sliced_score_matching
from ebmlearn.resources import resource
from ebmlearn.training.ablate import Table
from experiments import lesson08_methods as experiment

D64 = torch.float64


def test_the_truth_measures_perfect():
    m = experiment.measure(experiment.DATA)
    assert abs(m["KL"]) < 1e-6 and m["Fisher divergence"] == 0
    assert abs(m["log integral"]) < 1e-4, "a GaussianMixture is normalised"
    right = 0.3 * 0.5 * math.erfc(-1.6 / math.sqrt(2 * 0.16)) + 0.7 * 0.5 * math.erfc(2.4 / math.sqrt(2 * 0.25))
    assert abs(m["mass of the far mode"] - right) < 1e-3


def test_the_judges_tell_level_from_shape():
    """A shifted energy is the same density with another integral; other weights hardly change the Fisher divergence, but the KL."""
    data = experiment.DATA
    lifted = experiment.measure(lambda x: data(x) + 2.0)
    assert abs(lifted["KL"]) < 1e-6 and lifted["log integral"] == pytest.approx(-2.0, abs=1e-4)
    weights = torch.tensor([0.25, 0.25, 0.5])
    other = experiment.measure(GaussianMixture(data.means, torch.linalg.inv(data.precisions), weights=weights))
    kl = 0.4 * math.log(0.4 / 0.25) + 0.3 * math.log(0.3 / 0.25) + 0.3 * math.log(0.3 / 0.5)
    assert other["KL"] == pytest.approx(kl, abs=0.03)  # exact if the bumps did not overlap
    assert other["mass of the far mode"] == pytest.approx(0.5, abs=2e-3)


@pytest.mark.parametrize("name", list(experiment.losses()))
def test_every_loss_trains_and_repeats(name):
    loss_of = experiment.losses()[name]
    a, b = (experiment.train(loss_of, seed=3, steps=2) for _ in range(2))
    for p, q in zip(a.parameters(), b.parameters(), strict=True):
        assert torch.equal(p, q)
    loss = loss_of(a, experiment.DATA.sample(64, generator=torch.Generator().manual_seed(0))) + 0 * a.log_z
    level, weight = torch.autograd.grad(loss, [a.log_z, a.energy.net.layers[0].weight])
    assert weight.norm() > 1e-3
    assert (level.abs() > 1e-3) if name == "NCE" else (level.abs() < 1e-5), "only NCE learns log Z"


def test_the_shipped_table_says_what_the_lesson_says():
    table = Table.read(resource("data/results/lesson08_methods.csv"), command=experiment.COMMAND)
    mean = lambda name, metric: table.mean_and_error(name, metric)[0]
    assert mean("explicit", "Fisher divergence") < mean("likelihood, Z on a grid", "Fisher divergence") / 2
    assert mean("explicit", "KL") > 5 * mean("likelihood, Z on a grid", "KL")
    integral, error = table.mean_and_error("NCE", "log integral")
    assert abs(integral) < 5 * error


def test_noise_of_a_random_direction():
    """Random signs: Var(v·Hv) = 2 sum of the squared entries off the diagonal, so none on a multiple of the identity."""
    g = torch.Generator().manual_seed(0)
    root = torch.randn(4, 4, generator=g, dtype=D64)
    h = root @ root.T
    energy = lambda x: 0.5 * (x @ h * x).sum(-1)
    at_zero = torch.zeros(1, 4, dtype=D64)  # no gradient there: the value is -v·Hv
    draws = torch.stack([sliced_score_matching(energy, at_zero, generator=g) for _ in range(800)])
    variance = 2 * (h.square().sum() - h.diagonal().square().sum())
    error = ((draws - draws.mean()).pow(4).mean() - draws.var() ** 2).div(len(draws)).sqrt()
    assert abs(draws.var() - variance) < 5 * error
    assert abs(draws.mean() + h.trace()) < 5 * (variance / len(draws)).sqrt()


def test_score_hardly_sees_weights():
    at = torch.tensor([[-3.0]], dtype=D64)
    both = [GaussianMixture(torch.tensor([[-3.0], [3.0]], dtype=D64), weights=[w, 1 - w]) for w in (0.5, 0.8)]
    change = (score(both[0], at) - score(both[1], at)).abs().item()
    exact = 6 * (1 / (1 + math.exp(18)) - 1 / (1 + 4 * math.exp(18)))
    assert change == pytest.approx(exact, rel=1e-6) == pytest.approx(6.9e-8, rel=0.02)


def test_standard_error_of_log_z_explodes_with_distance():
    """n Var(log Z) = 1/I - (1 + 1/nu), and I is the curvature of the loss in log Z at the truth."""
    x = torch.linspace(-12, 14, 26_001, dtype=D64)
    data, n = Gaussian(torch.zeros(1, dtype=D64), 0.25), 4000
    variances = []
    for shift, nu in ((0.0, 1), (0.0, 3), (4.0, 1)):
        noise = Gaussian(torch.tensor([shift], dtype=D64), 1.0)
        log_density = lambda e, y: -e(y) - e.log_partition()
        log_p, log_q = log_density(data, x[:, None]), log_density(noise, x[:, None])
        information = (torch.sigmoid(log_p - log_q - math.log(nu)) * nu * log_q.exp()).sum().item() * 26 / 26_000
        variances.append(1 / information - 1 - 1 / nu)
        g = torch.Generator().manual_seed(0)
        x_pos, x_neg = data.sample(n, generator=g), noise.sample(nu * n, generator=g)
        c = data.log_partition().clone().requires_grad_(True)
        loss = noise_contrastive(data(x_pos), data(x_neg), log_density(noise, x_pos), log_density(noise, x_neg), c)
        (slope,) = torch.autograd.grad(loss, c, create_graph=True)
        (curvature,) = torch.autograd.grad(slope, c)
        # each point adds a(1 - a) <= 1/4, data with weight 1/n, noise with nu/(nu n)
        assert curvature.item() == pytest.approx(information, abs=5 * 0.125 * math.sqrt((1 + nu) / n))
    assert variances[1] < variances[0] < 0.01 * variances[2]


def test_data_and_noise_may_change_places():
    """With nu = 1 the variance is symmetric in p and q: noise of 0.4 times the width costs as much as of 2.5 times, equal noise nothing."""
    x = torch.linspace(-15, 15, 30_001, dtype=D64)[:, None]

    def variance(width):
        data, noise = Gaussian(torch.zeros(1, dtype=D64), 0.25), Gaussian(torch.zeros(1, dtype=D64), (0.5 * width) ** 2)
        log_p, log_q = (-e(x) - e.log_partition() for e in (data, noise))
        return 1 / ((log_p + log_q - torch.logaddexp(log_p, log_q)).exp().sum().item() * 1e-3) - 2

    assert abs(variance(1.0)) < 1e-9
    assert variance(0.4) == pytest.approx(variance(2.5), rel=1e-6) and variance(2.5) > 0.1
