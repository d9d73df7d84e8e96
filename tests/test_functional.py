import math

import pytest
import torch

from ebmlearn import functional as F
from ebmlearn.functional import (
    budget,
    check_event,
    check_generator,
    check_points,
    check_values,
    expand_as,
    implied_temperature,
    log_mean_exp,
    score,
    value_and_grad,
)


def quadratic(x):
    return 0.5 * (x**2).sum(-1)


def test_value_and_grad_of_a_quadratic_is_exact():
    x = torch.randn(3, 4, 2, dtype=torch.float64)
    e, g = value_and_grad(quadratic, x)
    assert torch.equal(e, quadratic(x))
    assert torch.allclose(g, x, atol=1e-15)
    assert not e.requires_grad and not g.requires_grad
    assert torch.allclose(score(quadratic, x), -x, atol=1e-15)


def test_value_and_grad_works_under_no_grad_and_leaves_x_alone():
    x = torch.ones(2, 2)
    with torch.no_grad():
        assert value_and_grad(quadratic, x)[1].tolist() == [[1, 1], [1, 1]]
    assert not x.requires_grad and x.grad is None
    y = torch.ones(2, 2, requires_grad=True)
    value_and_grad(quadratic, y)
    assert y.grad is None


def test_value_and_grad_leaves_parameter_gradients_alone():
    net = torch.nn.Linear(2, 1)
    value_and_grad(lambda x: net(x).squeeze(-1), torch.ones(3, 2))
    assert all(p.grad is None for p in net.parameters())


def test_a_closed_form_is_asked_first():
    class Own:
        def __call__(self, x):
            raise AssertionError("autograd path taken")

        def value_and_grad(self, x):
            return x.sum(-1), torch.ones_like(x)

    assert value_and_grad(Own(), torch.ones(2, 3))[0].tolist() == [3, 3]


def test_inference_mode_says_use_no_grad():
    with torch.inference_mode(), pytest.raises(RuntimeError, match="no_grad"):
        value_and_grad(quadratic, torch.ones(2, 2))


@pytest.mark.parametrize(
    "bad",
    [
        lambda x: (x**2).sum(),  # summed over the batch
        lambda x: (x**2).sum(-1, keepdim=True),  # (N, 1)
        lambda x: x**2,  # nothing summed
        lambda x: (x**2).sum(0),  # the wrong axis
    ],
)
def test_wrong_output_shape_says_what_came_and_what_was_expected(bad):
    with pytest.raises(ValueError, match=r"x of shape \(5, 3\).*expected.*\(5,\)"):
        value_and_grad(bad, torch.ones(5, 3))


def test_output_shape_of_an_energy_is_read_off_its_event_ndim():
    class Image:
        event_ndim = 3

        def __call__(self, x):
            return x.sum((-1, -2))  # one axis too many left

    with pytest.raises(ValueError, match=r"expected one number for each point: \(5,\)"):
        value_and_grad(Image(), torch.ones(5, 1, 4, 4))


@pytest.mark.parametrize(
    "bad",
    [
        lambda x: (x.detach() ** 2).sum(-1),
        lambda x: x.round().detach().sum(-1),
        lambda x: torch.zeros(len(x)),
        lambda x: torch.as_tensor((x.detach().numpy() ** 2).sum(-1)),
    ],
)
def test_an_energy_that_is_not_differentiable_raises(bad):
    with pytest.raises(ValueError, match="not differentiable"):
        value_and_grad(bad, torch.ones(5, 3))


def test_an_energy_of_parameters_only_raises():
    w = torch.nn.Parameter(torch.ones(()))
    with pytest.raises(ValueError, match="ignores x"):
        value_and_grad(lambda x: w * torch.ones(len(x)), torch.ones(5, 3))


@pytest.mark.parametrize("batch,event", [((), (3,)), ((5,), (3,)), ((2, 5), (3,))])
def test_check_values_accepts_every_batch_shape_of_a_bare_function(batch, event):
    x = torch.ones(*batch, *event)
    check_values(quadratic, x, quadratic(x))


def test_check_event_names_the_owner_and_the_shapes():
    check_event(torch.ones(7, 1, 8, 8), (1, 8, 8), "E")
    check_event(torch.ones(1, 8, 8), (1, 8, 8), "E")
    with pytest.raises(ValueError, match=r"Ring expected x of shape \[\*batch, 2\]; got \(5, 3\)"):
        check_event(torch.ones(5, 3), (2,), "Ring")
    with pytest.raises(ValueError, match="got"):
        check_event(torch.ones(8), (1, 8), "E")


@pytest.mark.parametrize(
    "x,match",
    [
        ([1.0, 2.0], "torch tensor"),
        (torch.ones(3, 2, dtype=torch.long), "floating"),
        (torch.ones(0, 2), "empty batch"),
        (torch.tensor(1.0), "empty batch"),
        (torch.tensor([[1.0, math.nan], [math.inf, 0.0]]), "2 of 4 numbers"),
    ],
)
def test_check_points(x, match):
    with pytest.raises(ValueError, match=match):
        check_points(x)


def test_generator_on_another_device_raises():
    check_generator(None, torch.ones(2))
    check_generator(torch.Generator(), torch.ones(2))
    with pytest.raises(ValueError, match="generator on meta.*one on cpu"):
        check_generator(torch.Generator(), torch.ones(2, device="meta"))


def test_expand_as():
    assert expand_as(torch.ones(2, 3), torch.ones(2, 3, 4)).shape == (2, 3, 1)
    with pytest.raises(ValueError, match="begin with the axes"):
        expand_as(torch.ones(3), torch.ones(2, 3))


def test_log_mean_exp_does_not_overflow():
    a = torch.tensor([1000.0, 1000.0 + math.log(3)], dtype=torch.float64)
    assert abs(log_mean_exp(a).item() - (1000 + math.log(2))) < 1e-12
    assert log_mean_exp(torch.zeros(2, 5), dim=0).tolist() == [0.0] * 5


def test_implied_temperature():
    assert implied_temperature(0.5, 1.0) == 1.0
    assert implied_temperature(step_size=0.1, noise=0.01) == pytest.approx(5e-4)
    with pytest.raises(ValueError, match="step_size > 0"):
        implied_temperature(0.0, 1.0)


def test_budget(monkeypatch):
    monkeypatch.delenv("EBMLEARN_SMOKE", raising=False)
    assert budget(2000, smoke=20) == 2000
    for value, expected in (("1", 20), ("0", 2000), ("", 2000)):
        monkeypatch.setenv("EBMLEARN_SMOKE", value)
        assert budget(2000, smoke=20) == expected


def test_public_names_exist():
    import ebmlearn

    for name in ebmlearn.__all__:
        assert getattr(ebmlearn, name) is getattr(F, name)
