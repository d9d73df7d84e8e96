"""Right and plausible wrong answers to the capstone. The right ones use the density of the data, which a student may not."""

import math

import torch

from ebmlearn.checks.capstone import the_data
from ebmlearn.datasets.toy import moons
from ebmlearn.energies import Gaussian, GaussianMixture
from ebmlearn.metrics import quadrature
from ebmlearn.samplers import MALA, Langevin, sample
from tests.checks_harness import Case

DATA = the_data()
CURVES = moons(noise=0.02).sample(200, generator=torch.Generator().manual_seed(0))
NEARLY, WIDER = GaussianMixture(CURVES, 0.15**2), GaussianMixture(CURVES, 0.19**2)


def own(x):
    """A right energy, near the data's and cheap, shifted, so that log Z is not 0."""
    return NEARLY(x) + 1.5


def _kernel_density(x):
    """A mixture of narrow Gaussians on 400 samples."""
    centres = DATA.sample(400, generator=torch.Generator().manual_seed(0))
    return GaussianMixture(centres, 0.02)(x)


LOG_Z = 1.5 * -1


def _beside(*functions):
    return [(f, own) for f in functions]


def _chains(kernel, steps, start=lambda n, g: 3 * torch.rand(n, 2, generator=g) - 1.5):
    def f(n, seed):
        g = torch.Generator().manual_seed(seed)
        return sample(own, kernel, start(n, g), steps, generator=g)

    return f


def _exact(n, seed):
    return NEARLY.sample(n, generator=torch.Generator().manual_seed(seed))


def _shuffled(n, seed):
    g = torch.Generator().manual_seed(seed)
    x = NEARLY.sample(2 * n, generator=g)
    return x[torch.randperm(2 * n, generator=g)[:n]]


def _grid_draws(n, seed, temperature=1.0):
    g = torch.Generator().manual_seed(seed)
    line = torch.linspace(-2.4, 2.4, 97)
    x = torch.cartesian_prod(line, line)
    x = x[torch.multinomial(torch.softmax(-own(x) / temperature, 0), n, replacement=True, generator=g)]
    return x + 0.05 * (torch.rand(n, 2, generator=g) - 0.5)


def _one_moon(n, seed):
    x = _exact(4 * n, seed)
    return x[x[:, 1] > 0][:n]


def _gauss(x, centre, variance):
    return (x - centre).square().sum(-1) / (2 * variance) + math.log(2 * math.pi * variance)


def _mixture(x, c, v):
    return math.log(2) - torch.logaddexp(-own(x) - LOG_Z, -_gauss(x, c, v))


def _or(model=lambda x: own(x) + LOG_Z, gauss=_gauss, level=math.log(2)):
    return lambda x, c, v: level - torch.logaddexp(-model(x), -gauss(x, c, v))


THRESHOLD = torch.quantile(own(DATA.sample(20_000, generator=torch.Generator().manual_seed(3))), 0.95)


def _distance(x):
    return (x / torch.tensor([0.88, 0.52])).norm(dim=-1)


def _conformal(x):
    energies = own(DATA.sample(5000, generator=torch.Generator().manual_seed(4))).sort().values
    rank = torch.searchsorted(energies, own(x).contiguous())
    return (len(energies) - rank + 1) / (len(energies) + 1) < 0.05


CASES = {
    "energy": Case(
        right=[own, WIDER, _kernel_density],
        wrong={
            "sign": lambda x: -own(x).clamp(max=20) + (x**2).sum(-1).clamp(max=60) / 2,
            "one Gaussian": Gaussian([-0.03, 0.01], torch.tensor([[0.775, 0.0], [0.0, 0.273]])),
            "flat": lambda x: (x / 4).pow(8).sum(-1),
            "three times as warm": lambda x: own(x) / 3,
            "colder": lambda x: 3 * own(x),
            "leaks": lambda x: own(x).clamp(max=5.0),
            "standardised by its batch": lambda x: own(x - x.mean(-2, keepdim=True)),
            "noisy": lambda x: own(x) + torch.randn(x.shape[:-1]),
            "density": lambda x: torch.exp(-own(x)),
            "one moon": lambda x: own(x) + 4 * (x[..., 1] > 0),
        },
    ),
    "log_partition": Case(
        takes_function=False,
        right=_beside(
            lambda: LOG_Z,
            lambda: quadrature(own, low=-8, high=8, cells=320).log_partition,
            lambda: torch.tensor(LOG_Z + 0.01),
        ),
        wrong={
            name: (f, own)
            for name, f in {
                "sign": lambda: -LOG_Z,
                "Z": lambda: math.exp(LOG_Z),
                "no area of a cell": lambda: LOG_Z - math.log((16 / 320) ** 2),
                "of the density": lambda: 0.0,
                "half of the plane": lambda: LOG_Z - math.log(2),
            }.items()
        },
    ),
    "draw": Case(
        takes_function=False,
        right=_beside(_exact, _grid_draws, _shuffled),
        wrong={
            name: (f, own)
            for name, f in {
                "chains that just began": _chains(MALA(step_size=0.01), 3),
                "warm": lambda n, seed: _grid_draws(n, seed, 1.4),
                "cold": lambda n, seed: _grid_draws(n, seed, 0.7),
                "a long unadjusted step": _chains(Langevin(step_size=0.03), 25),
                "hardly any noise": _chains(Langevin(step_size=0.01, noise=0.01), 25),
                "one moon": _one_moon,
                "seed unused": lambda n, seed: NEARLY.sample(n),
                "the same points again": lambda n, seed: _exact(20, seed).repeat(n // 20, 1),
                "sorted": lambda n, seed: _exact(n, seed).sort(0).values,
                "upside down": lambda n, seed: _exact(n, seed) * torch.tensor([1.0, -1.0]) + torch.tensor([0.3, 0.0]),
            }.items()
        },
    ),
    "either": Case(
        takes_function=False,
        right=_beside(
            _mixture,
            lambda x, c, v: -torch.log(0.5 * (-own(x) - LOG_Z).double().exp() + 0.5 * (-_gauss(x, c, v)).double().exp() + 1e-300),
            lambda x, c, v: -torch.logsumexp(torch.stack([-own(x) - LOG_Z, -_gauss(x, c, v)], -1) + math.log(0.5), -1),
        ),
        wrong={
            name: (f, own)
            for name, f in {
                "without log Z": _or(model=own),
                "log Z of the other sign": _or(model=lambda x: own(x) - LOG_Z),
                "average of the energies": lambda x, c, v: (own(x) + LOG_Z + _gauss(x, c, v)) / 2,
                "product": lambda x, c, v: own(x) + LOG_Z + _gauss(x, c, v),
                "the lower energy": lambda x, c, v: torch.minimum(own(x) + LOG_Z, _gauss(x, c, v)),
                "no half": _or(level=0.0),
                "Gaussian not normalised": _or(gauss=lambda x, c, v: (x - c).square().sum(-1) / (2 * v)),
                "variance as deviation": _or(gauss=lambda x, c, v: _gauss(x, c, v**2)),
                "density": lambda x, c, v: torch.exp(-_mixture(x, c, v)),
                "sign": lambda x, c, v: -_mixture(x, c, v),
            }.items()
        },
    ),
    "outlier": Case(
        right=[
            lambda x: own(x) > THRESHOLD,
            _conformal,
            lambda x: (own(x) >= THRESHOLD).double(),
        ],
        wrong={
            "inliers": lambda x: own(x) <= THRESHOLD,
            "never": lambda x: torch.zeros(len(x), dtype=torch.bool),
            "always": lambda x: torch.ones(len(x), dtype=torch.bool),
            "5 % of whatever comes": lambda x: own(x) > torch.quantile(own(x), 0.95),
            "half of the data": lambda x: own(x) > own(DATA.sample(2000)).median(),
            "distance to the centre": lambda x: _distance(x) > torch.quantile(_distance(DATA.sample(4000)), 0.95),
            "energies": own,
        },
    ),
}
