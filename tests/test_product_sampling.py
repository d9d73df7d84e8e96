"""The race of product samplers: its truth is right, calls are equal, and the stored table says what the lesson says."""

import pytest
import torch

from ebmlearn.resources import resource
from ebmlearn.training.ablate import Table
from experiments import product_sampling as race


def test_the_product_is_the_sum_of_the_energies():
    ring, bar = race.factors()
    x = torch.rand(200, 2, generator=torch.Generator().manual_seed(0)) - 0.5
    gap = race.product(ring, bar)(x) - ring(x) - bar(x)
    assert gap.std() < 1e-3  # float32; a constant, since energies have no level


def test_exact_samples_are_as_near_as_so_few_can_be():
    target, cells = race.truth()
    assert cells.sum().item() == pytest.approx(1)
    x = target.sample(20_000, generator=torch.Generator().manual_seed(1))
    assert race.total_variation(x, cells) < 0.04 < 0.9 < race.total_variation(x + 1, cells)


@pytest.mark.parametrize("method", race.KERNELS)
def test_every_method_spends_the_same(method):
    before = race.Counted.calls
    x = race.points(method, 80, 1.0, n=20, seed=0)
    assert x.shape == (20, 2) and race.Counted.calls - before == 80


def test_corrections_win_at_equal_calls():
    """In the stored table, at every budget, by more than five standard errors; reverse diffusion alone does not improve."""
    table = Table.read(resource("data/results/product_sampling.csv"), command=race.COMMAND)
    value = lambda budget, method: table.mean_and_error(f"{budget} calls, {method}", "total variation")
    alone = {b: value(b, "reverse diffusion alone") for b in race.BUDGETS}
    for budget in race.BUDGETS:
        for method in list(race.KERNELS)[1:]:
            assert len(table.values(f"{budget} calls, {method}", "total variation")) >= 5
            mean, error = value(budget, method)
            assert alone[budget][0] - mean > 5 * (error**2 + alone[budget][1] ** 2) ** 0.5
    assert abs(alone[960][0] - alone[240][0]) < 5 * (alone[960][1] ** 2 + alone[240][1] ** 2) ** 0.5
