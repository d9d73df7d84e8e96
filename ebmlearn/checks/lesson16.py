"""Exercises of lesson 16: the temperature that a sampler's two numbers imply, a detector of copies, what a run costs."""

from __future__ import annotations

import torch
from torch import Tensor

from .base import Answer, problem, require, require_close, require_tensor


@problem(
    "Return the temperature T of the chain x <- x - step grad E(x) + noise N(0, I).",
    hints=[
        "Langevin at temperature T: x <- x - step grad E(x) + sqrt(2 step T) N(0, I).",
        "Set noise = sqrt(2 step T) and solve for T.",
    ],
)
def implied_temperature(step: float, noise: float) -> float:
    return noise**2 / (2 * step)


@implied_temperature.property
def plain_langevin(f: Answer) -> None:
    for step in (0.01, 0.5, 2.0):
        require_close(f(step, (2 * step) ** 0.5), 1.0, f"with step {step:g} and noise sqrt(2 step) it is not 1", atol=1e-9)


@implied_temperature.property
def noise_counts_twice(f: Answer) -> None:
    value = float(require_tensor(f(0.1, 0.03), (), "your temperature"))
    require_close(f(0.1, 0.06) / value, 4.0, "twice the noise does not give four times the temperature")
    require_close(f(0.2, 0.03) / value, 0.5, "twice the step does not give half the temperature")


@implied_temperature.property
def a_known_chain(f: Answer) -> None:
    step, noise, n = 0.02, 0.1, 400  # E = x²/2: a chain at temperature T has variance T/(1 - step/2)
    keep = (1 - step) ** 2
    variance = sum(noise**2 * keep**i for i in range(n))
    require_close(
        f(step, noise), variance * (1 - step / 2), "for E = x²/2, step 0.02 and noise 0.1 a chain has another variance", atol=1e-6
    )


@problem(
    "For each x[i] return d1/d2: its Euclidean distance to the nearest training image over that to the second nearest. Flatten the images.",
    hints=[
        "torch.cdist(x.flatten(1), train.flatten(1)) is the table of distances, [N, M].",
        "topk(2, largest=False) gives the two smallest of each row, in order.",
    ],
)
def copy_ratio(x: Tensor, train: Tensor) -> Tensor:
    d = torch.cdist(x.flatten(1), train.flatten(1)).topk(2, largest=False).values
    return d[:, 0] / d[:, 1]


def _images(n: int) -> Tensor:
    return torch.rand(n, 1, 4, 4, dtype=torch.float64)


@copy_ratio.property
def shape(f: Answer) -> None:
    require_tensor(f(_images(5), _images(9)), (5,), "your ratios for 5 images and 9 training images")


@copy_ratio.property
def a_copy_is_zero(f: Answer) -> None:
    train = _images(12)
    got = require_tensor(f(train[3:6].clone(), train), (3,))
    require(float(got.abs().max()) < 1e-5, "copies of training images do not get ratio 0")


@copy_ratio.property
def midway_is_one(f: Answer) -> None:
    train = torch.cat([torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2), 9 * torch.ones(1, 1, 2, 2)]).double()
    require_close(f(train[:1] + 0.5, train), [1.0], "a point midway between its two nearest images does not get 1")
    require_close(f(train[:1] + 0.25, train), [1 / 3], "a point at distances 1/4 and 3/4 of a line does not get 1/3")


@copy_ratio.property
def scale_free_and_any_order(f: Answer) -> None:
    x, train = _images(6), _images(20)
    value = require_tensor(f(x, train), (6,))
    require_close(f(3 * x, 3 * train), value, "three times brighter images change the ratio")
    require_close(f(x, train.flip(0)), value, "the order of the training images matters")
    target = []
    for a in x:
        d = sorted(float((a - b).square().sum().sqrt()) for b in train)
        target.append(d[0] / d[1])
    require_close(value, target, "for random images it is not the nearest over the second nearest distance")


@problem(
    "Return (kWh, grams of CO2) of a run: seconds, watts of the device, overhead (of the building, >= 1), intensity in grams per kWh.",
    hints=[
        "Energy is power times time: watts times seconds are joules.",
        "One kWh is 3.6 million joules. The overhead multiplies the energy.",
    ],
)
def footprint(seconds: float, watts: float, overhead: float, intensity: float) -> tuple[float, float]:
    kwh = overhead * watts * seconds / 3.6e6
    return kwh, kwh * intensity


@footprint.property
def two_numbers(f: Answer) -> None:
    got = f(60.0, 100.0, 1.0, 100.0)
    require(isinstance(got, (tuple, list, Tensor)) and len(got) == 2, "it does not return two numbers, kWh and grams")


@footprint.property
def one_hour_of_a_kilowatt(f: Answer) -> None:
    kwh, grams = f(3600.0, 1000.0, 1.0, 400.0)
    require_close(kwh, 1.0, "1000 W for an hour are not 1 kWh")
    require_close(grams, 400.0, "1 kWh at 400 g/kWh is not 400 g")


@footprint.property
def each_factor(f: Answer) -> None:
    kwh, grams = f(500.0, 300.0, 1.2, 50.0)
    require_close(kwh, 0.05, "300 W for 500 s with overhead 1.2 are not 0.05 kWh")
    require_close(grams, 2.5, "0.05 kWh at 50 g/kWh are not 2.5 g")
    k2, g2 = f(500.0, 300.0, 1.2, 100.0)
    require_close(k2, kwh, "the energy depends on the grid's intensity")
    require_close(g2, 2 * grams, "twice the intensity does not give twice the grams")
