"""Capstone: an energy of one's own in the plane, learned, normalised, sampled, composed, and asked what is an outlier."""

from __future__ import annotations

import functools
import math
from typing import Any

import torch
from torch import Tensor

from ..datasets.toy import NoisyCurves, moons
from ..metrics.divergence import kl_on_grid
from ..metrics.partition import Quadrature, quadrature
from .base import Answer, require, require_close, require_tensor
from .homework import graded

TITLE = "Capstone: an energy of your own"
MANUAL = {"report": 6}
BOX = 4.0  # the square [-4, 4]² outside of which the energy must leave no mass
DRAWS = 1000  # points of the sampling problem; its bands are 5 standard errors wide
ENOUGH = 0.15  # nats; one Gaussian fitted to the data is at 0.54


def the_data() -> NoisyCurves:
    """Two moons with noise 0.15; `.sample(n, generator=)`."""
    return moons(noise=0.15)


def _grid(f: Answer, what: str = "the energy", cells: int = 80) -> Quadrature:
    """Normalised on the box, in float64, one call for all cells."""

    def values(x: Tensor) -> Tensor:
        return require_tensor(f(x.float()), x.shape[:-1], what)

    return quadrature(values, low=-BOX, high=BOX, cells=cells, dtype=torch.float64)


@functools.cache
def _data_on_grid() -> Tensor:
    return quadrature(the_data(), low=-BOX, high=BOX, cells=80, dtype=torch.float64).log_density


def _mass(q: Quadrature) -> Tensor:
    return (q.log_density + q.log_volume).exp()


@graded(
    "Learn an energy E of points [*batch, 2] from samples of q.the_data(). Within 0.15 nats of the data (KL on a grid); all mass in "
    "the square from -4 to 4; its density may not be used.",
    points=7,
    hints=[
        "MLPEnergy(2, hidden_features=(64, 64, 64), confinement=0.1), Adam, a few hundred steps; any loss of the course.",
        "In two dimensions log Z can be summed on a grid inside the loss: maximum likelihood without chains.",
        "A confinement c |x|²/2 keeps mass from leaking to where no data pushed the energy up.",
    ],
)
def energy(x: Tensor) -> Tensor: ...


@energy.property
def one_number_a_point(f: Answer) -> None:
    require_tensor(f(torch.randn(5, 2)), (5,), "the energy of 5 points")
    require_tensor(f(torch.randn(3, 4, 2)), (3, 4), "the energy of 3 x 4 points")


@energy.property
def a_function_of_the_point(f: Answer) -> None:
    x = torch.randn(6, 2)
    e = require_tensor(f(x), (6,))
    require_close(f(x), e, "the same points have another energy the second time")
    require_close(
        torch.stack([torch.as_tensor(f(x[i : i + 1]))[0] for i in range(6)]), e, "a point's energy depends on its batch"
    )


@energy.property
def mass_stays_inside(f: Answer) -> None:
    inside = _grid(f).log_partition
    wide = quadrature(lambda x: require_tensor(f(x.float()), x.shape[:-1]), low=-12, high=12, cells=96, dtype=torch.float64)
    far = (wide.x.abs() > BOX).any(-1)
    outside = torch.logsumexp((wide.log_density + wide.log_partition)[far], 0) + wide.log_volume
    share = float(torch.sigmoid(outside - inside))
    require(share < 0.02, f"{share:.0%} of the mass lies outside of the square: is there anything that holds it?")


@energy.property
def low_where_data_are(f: Answer) -> None:
    x = the_data().sample(400)
    noise = 2 * BOX * torch.rand(400, 2) - BOX
    e, far = require_tensor(f(x), (400,)), require_tensor(f(noise), (400,))
    require(e.median() < far.median(), "data have a higher energy than noise: the sign")


@energy.property
def near_the_data(f: Answer) -> None:
    kl = float(kl_on_grid(_data_on_grid(), _grid(f).log_density))
    require(
        kl < ENOUGH,
        f"KL(data || model) is {kl:.2f} nats; asked for {ENOUGH}. One Gaussian has 0.54: train longer, or a larger network",
    )


@graded(
    "log Z of your own energy over the plane, within 0.05.",
    points=4,
    beside=["energy"],
    hints=["A grid over the square, or importance sampling from a wide Gaussian.", "logsumexp(-E) plus log of a cell's area."],
)
def log_partition() -> float: ...


@log_partition.property
def is_that_of_the_energy(fs: Answer) -> None:
    f, e = fs
    value, exact = require_tensor(f(), (), "log Z"), _grid(e, "your energy").log_partition
    require(abs(value + exact) > 0.05 or abs(value - exact) < 0.05, "it is minus log Z")
    require(abs(value - exact) < 0.05, f"it is {float(value):.3f}; a grid over your energy has {float(exact):.3f}")


@graded(
    "n independent draws [n, 2] from your own energy at temperature 1; the same seed gives the same draws.",
    points=5,
    beside=["energy"],
    hints=[
        "MALA or HMC from wide starts, long enough; then look at the shares of both moons.",
        "Langevin with a step that is not small, or with little noise, samples another density than exp(-E).",
    ],
)
def draw(n: int, seed: int) -> Tensor: ...


@draw.property
def seeded_and_independent(fs: Answer) -> None:
    f, _ = fs
    x = require_tensor(f(200, 3), (200, 2), "200 draws")
    require(torch.equal(x, require_tensor(f(200, 3), (200, 2))), "the same seed gives other draws")
    require(len(x.unique(dim=0)) > 190, "some points come more than once")
    d = x - x.mean(0)
    lag = (d[1:] * d[:-1]).mean(0) / d.square().mean(0)
    require(lag.abs().max() < 5 / math.sqrt(200), "each draw resembles the one before it: they are not independent")


@draw.property
def from_the_energy(fs: Answer) -> None:
    f, e = fs
    x = require_tensor(f(DRAWS, 8), (DRAWS, 2), "the draws")
    q = _grid(e, "your energy", cells=160)
    p = _mass(q)
    on_grid = -q.log_density - q.log_partition
    mean = (p * on_grid).sum()
    spread = ((p * on_grid**2).sum() - mean**2).sqrt()
    found = require_tensor(e(x.float()), (DRAWS,)).mean()
    require(
        abs(found - mean) < 5 * spread / math.sqrt(DRAWS) + 0.01,
        f"the mean energy of the draws is {float(found):.3f}, under your energy it is {float(mean):.3f}: temperature, step, or chains "
        "that did not arrive",
    )
    for angle in torch.arange(8) * (math.pi / 8) + float(torch.rand(())):
        direction = torch.stack([angle.cos(), angle.sin()]).double()
        cut = float((p * (q.x @ direction)).sum())
        share = float(p[(q.x @ direction) > cut].sum())
        got = float(((x @ direction) > cut).double().mean())
        band = 5 * math.sqrt(share * (1 - share) / DRAWS) + 0.01
        require(abs(got - share) < band, f"a half-plane with a share of {share:.2f} of your density has {got:.2f} of the draws")


@graded(
    "The normalised energy of an even mixture (OR) of your model and of N(centre, variance I): minus the log-density "
    "-log(p_model/2 + p_Gauss/2), [*batch]; centre [2], variance a number.",
    points=4,
    beside=["energy"],
    hints=[
        "An OR needs densities, so it needs log Z of each; an average of energies is something else.",
        "Minus logaddexp of the two log-densities, plus log 2.",
    ],
)
def either(x: Tensor, centre: Tensor, variance: float) -> Tensor: ...


@either.property
def one_number_a_point_too(fs: Answer) -> None:
    f, _ = fs
    require_tensor(f(torch.randn(3, 4, 2), torch.zeros(2), 0.5), (3, 4), "the energy of 3 x 4 points")


@either.property
def normalised(fs: Answer) -> None:
    f, _ = fs
    log_z = _grid(lambda x: f(x, torch.tensor([-1.5, 2.0]), 0.1), "the mixture").log_partition
    require(abs(log_z) < 0.06, f"exp(-E) of the mixture integrates to {float(log_z.exp()):.2g}, not to 1")


@either.property
def both_parts(fs: Answer) -> None:
    f, e = fs
    centre = torch.tensor([2.5, -2.5]) * (0.9 + 0.2 * torch.rand(()))
    variance = 0.05 + 0.1 * float(torch.rand(()))
    x = the_data().sample(200)
    model = _grid(e, "your energy")
    own = require_tensor(e(x), (200,)) + model.log_partition
    distance = (x.double() - centre.double()).square().sum(-1)
    gauss = distance / (2 * variance) + math.log(2 * math.pi * variance)
    exact = -torch.logaddexp(-own, -gauss) + math.log(2)
    found = require_tensor(f(x, centre, variance), (200,))
    require((found - exact).abs().max() < 0.1, "where the data are it is not minus the log of half of your own density")
    near = centre + math.sqrt(variance) * torch.randn(200, 2)
    own = require_tensor(e(near), (200,)) + model.log_partition
    gauss = (near.double() - centre.double()).square().sum(-1) / (2 * variance) + math.log(2 * math.pi * variance)
    exact = -torch.logaddexp(-own, -gauss) + math.log(2)
    found = require_tensor(f(near, centre, variance), (200,))
    require((found - exact).abs().max() < 0.1, "around the centre it is not minus the log of half of the Gaussian's density")


@graded(
    "Which points [N, 2] are outliers: N booleans. Of new data about 5 % (2 to 9 %) may be called so, of uniform noise on the square "
    "from -4 to 4 at least 80 %.",
    points=4,
    hints=[
        "An outlier is a point of high energy. Where is the threshold?",
        "The 95 % quantile of the energies of data that were not trained on.",
    ],
)
def outlier(x: Tensor) -> Tensor: ...


def _share(f: Answer, x: Tensor) -> float:
    said: Any = require_tensor(f(x), (len(x),), "your booleans")
    require(bool(((said == 0) | (said == 1)).all()), "expected booleans, or zeros and ones")
    return float(said.mean())


@outlier.property
def false_alarms(f: Answer) -> None:
    alarms = _share(f, the_data().sample(4000))
    require(0.02 < alarms < 0.09, f"of new data {alarms:.1%} are called outliers; asked for about 5 %")


@outlier.property
def finds_noise(f: Answer) -> None:
    found = _share(f, 2 * BOX * torch.rand(2000, 2) - BOX)
    require(found > 0.8, f"of uniform noise {found:.0%} are found; asked for at least 80 %")


@outlier.property
def between_the_moons(f: Answer) -> None:
    data = the_data().sample(4000)
    x = (2 * torch.rand(6000, 2) - 1) * 2 * data.std(0)
    hole = x[(torch.cdist(x, data).amin(1) > 0.2) & ((x / data.std(0)).norm(dim=-1) < 1.8)]
    require(_share(f, hole) > 0.5, "points in the gap between the moons pass as data: is it a distance to the centre?")
