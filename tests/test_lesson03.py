"""Closed forms behind lesson 03: levels, dead gradients, the bound of InfoNCE, low regions that are not normalised."""

import math

import pytest
import torch

from ebmlearn.energies.architectural import KMeansEnergy, PCAEnergy, SparseCodingEnergy
from ebmlearn.metrics import quadrature
from ebmlearn.objectives import (
    energy_loss,
    hinge,
    info_nce,
    log_loss,
    negative_log_likelihood,
    perceptron,
    square_exponential,
    square_square,
)

D64 = torch.float64
LOSSES = {
    "energy": lambda p, n, a: energy_loss(p),
    "perceptron": lambda p, n, a: perceptron(p, a),
    "hinge": lambda p, n, a: hinge(p, n),
    "log": lambda p, n, a: log_loss(p, n),
    "square-square": lambda p, n, a: square_square(p, n),
    "square-exp": lambda p, n, a: square_exponential(p, n),
    "likelihood": lambda p, n, a: negative_log_likelihood(p, a),
}
DIFFERENCES = ("perceptron", "hinge", "log", "likelihood")


@pytest.mark.parametrize("name", LOSSES)
def test_losses_of_differences_do_not_see_the_level(name):
    e = torch.rand(20, 5, generator=torch.Generator().manual_seed(0), dtype=D64)
    value = lambda c: LOSSES[name](e[:, 0] + c, e[:, 1] + c, e + c).item()
    levels = torch.linspace(0, 4, 81, dtype=D64).tolist()
    values = [value(c) for c in levels]
    if name in DIFFERENCES:
        assert max(values) - min(values) < 1e-12
    elif name == "energy":
        assert values == sorted(values), "falls with the level for ever"
    else:
        assert values[0] < values[-1] and value(100.0) > 1000, "a level that is too high costs"


@pytest.mark.parametrize("name", LOSSES)
def test_differences_of_distances_have_no_gradient_beyond_the_candidates(name):
    answers = torch.linspace(-0.2, 1.2, 71, dtype=D64)
    slopes = {}
    for start in (0.913, 1.5, -0.5):
        g = torch.tensor([start], dtype=D64, requires_grad=True)
        everything = (g[:, None] - answers).abs()
        wrong = torch.where((answers - 0.49).abs() > 0.25, everything, torch.inf).min(-1).values
        (slopes[start],) = torch.autograd.grad(LOSSES[name]((g - 0.49).abs(), wrong, everything), g)
    assert slopes[0.913].abs() > 1e-3
    for outside in (1.5, -0.5):
        assert (slopes[outside].abs() < 1e-12) == (name in DIFFERENCES)


def test_likelihood_of_a_distance_is_pulled_by_the_mass_on_the_other_side():
    """d/dG (|G - y| + log sum exp(-beta |G - y'|)/beta) = 2 P(y' > G) for G > y, -2 P(y' < G) for G < y."""
    answers = torch.linspace(-0.2, 1.2, 71, dtype=D64)
    for beta in (1.0, 10.0):
        for start in (0.13, 0.77):
            g = torch.tensor([start], dtype=D64, requires_grad=True)
            e = (g[:, None] - answers).abs()
            loss = negative_log_likelihood((g - 0.5).abs(), e, beta=beta)
            (slope,) = torch.autograd.grad(loss, g)
            p = torch.softmax(-beta * e[0], 0)
            expected = 2 * p[answers > start].sum() if start > 0.5 else -2 * p[answers < start].sum()
            assert slope.item() == pytest.approx(expected.item(), abs=1e-12)


@pytest.mark.parametrize("n", [1, 15, 255])
def test_info_nce_certifies_less_than_the_information_and_less_than_its_candidates(n):
    """The exact energy of correlated normals: log(N + 1) - L is a lower bound of the information, within 5 standard errors."""
    g = torch.Generator().manual_seed(n)
    for information in (0.5, 8.0):
        v = math.exp(-2 * information / 8)
        rho = math.sqrt(1 - v)
        f = lambda x, y, rho=rho, v=v: (0.5 * ((y - rho * x) ** 2 / v - y**2) + 0.5 * math.log(v)).sum(-1)
        x = torch.randn(400, 8, generator=g, dtype=D64)
        y = rho * x + math.sqrt(v) * torch.randn(400, 8, generator=g, dtype=D64)
        negatives = torch.randn(400, n, 8, generator=g, dtype=D64)
        e_pos, e_neg = f(x, y), f(x[:, None], negatives)
        each = torch.stack([info_nce(e_pos[i : i + 1], e_neg[i : i + 1]) for i in range(400)])
        error = each.std().item() / 20
        certified = math.log(n + 1) - info_nce(e_pos, e_neg).item()
        assert certified < math.log(n + 1) and certified < information + 5 * error
        assert certified > 0.5 * min(information, math.log(n + 1)) - 5 * error, "the exact energy comes close"
        # any other energy certifies less: here the same one with the sign of rho wrong
        assert math.log(n + 1) - info_nce(f(-x, y), f(-x[:, None], negatives)).item() < certified


def test_one_atom_of_sparse_coding_is_the_huber_function():
    x = torch.linspace(-3, 3, 601, dtype=D64)
    energy = SparseCodingEnergy(torch.ones(1, 1, dtype=D64), sparsity=0.7)
    huber = torch.where(x.abs() <= 0.7, x**2 / 2, 0.7 * x.abs() - 0.7**2 / 2)
    torch.testing.assert_close(energy(x[:, None]), huber)


def test_a_subspace_energy_has_no_finite_z_and_prototypes_have():
    strip = PCAEnergy(torch.zeros(2, dtype=D64), torch.tensor([[1.0, 0.0]], dtype=D64))
    wells = KMeansEnergy(torch.tensor([[-3.0, 0.0], [3.0, 0.0]], dtype=D64))
    log_z = lambda energy, half: quadrature(energy, low=-half, high=half, cells=400).log_partition.item()
    for half in (8.0, 16.0):
        assert log_z(strip, half) == pytest.approx(math.log(2 * half * math.sqrt(math.pi)), abs=1e-6)
        # two Gaussians of variance 1/2, cut where they meet at distance 3
        assert log_z(wells, half) == pytest.approx(math.log(2 * math.pi * 0.5 * (1 + math.erf(3.0))), abs=1e-4)
