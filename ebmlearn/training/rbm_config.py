"""Hyperparameters of a Gaussian-Bernoulli RBM, and the settings to start from, by data set and variant."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .rbm_data import PLANE


@dataclass(frozen=True, kw_only=True)
class RBMConfig:
    """Hyperparameters of a Gaussian-Bernoulli RBM; the defaults are those of the 8x8 digits.

    Args:
        data: "gmm2d", "gmm2d_anisotropic", a name from `ebmlearn data`, or a path to own data.
        seed: of the parameters, the batch order and the chains.
        steps: parameter updates.
        batch_size: data points an update.
        n_chains: negative chains an update.
        n_hidden: H.
        negatives: where chains start: "noise" (modified CD), "data" (CD-k), "pcd" (where they ended), or "annealed": noise,
            then sweeps along a path from a Gaussian to the model, each chain weighted by its annealed importance weight.
        sweeps: k, sweeps an update.
        burn_in: the negative gradient averages the states burn_in..k; None: the last alone.
        annealed_weights: off makes annealed CD wrong, on purpose.
        sampler: "gibbs", "gibbs-langevin", or "langevin" (on the marginal, one step a sweep).
        step_size: eta of the Langevin steps, in units of each s².
        n_inner: inner steps of Gibbs-Langevin, drawn as one.
        temperature: T of the model exp(-E/T).
        released_scaling: T = batch_size for x alone and one step for all dimensions, as the paper's released program has it.
        metropolis: test each sweep (Gibbs-Langevin at one temperature).
        optimizer: "sgd" or "adam".
        learning_rate: first value; cosine to zero.
        clip: largest gradient norm; 0 is none.
        weight_decay: of W.
        init: "small" (from the data, units nearly off) or "paper" (W ~ init_var N(0, 1)/sqrt(D + H), b = 0).
        init_var, weight_scale, activity: see `GaussianBernoulliRBM.initialise`.
        learn_variance: or keep init_var.
        standardise: "each" entry, "all" together, or "none".
        min_std: floor of the standard deviation used, in the data's units.
        noise: standard deviation of Gaussian noise added to data, in the data's units.
        limit: use so many training points; 0 is all.
        products: "float32" or "bfloat16" matrix products in the chains.
        ais_sweeps: annealing sweeps of the log-likelihood measured at the end; 0 leaves the measurement out.
    """

    data: str = "digits"
    seed: int = 0
    steps: int = 8000
    batch_size: int = 100
    n_chains: int = 100
    n_hidden: int = 128
    negatives: str = "pcd"
    sweeps: int = 5
    burn_in: int | None = None
    annealed_weights: bool = True
    sampler: str = "gibbs"
    step_size: float = 0.3
    n_inner: int = 10
    temperature: float = 1.0
    released_scaling: bool = False
    metropolis: bool = False
    optimizer: str = "sgd"
    learning_rate: float = 0.1
    clip: float = 10.0
    weight_decay: float = 0.0
    init: str = "small"
    init_var: float = 1.0
    weight_scale: float = 0.1
    activity: float = 0.1
    learn_variance: bool = True
    standardise: str = "each"
    min_std: float = 2 / 17
    noise: float = 0.0
    limit: int = 0
    products: str = "float32"
    ais_sweeps: int = 1500


DIGITS = RBMConfig()
GMM = RBMConfig(
    data="gmm2d",
    steps=3000,
    batch_size=1000,
    n_chains=200,
    n_hidden=64,
    negatives="annealed",
    optimizer="adam",
    learning_rate=0.01,
    clip=0.0,
    init_var=0.3,
    weight_scale=0.3,
    min_std=0.0,
)
GMM_ANISOTROPIC = replace(GMM, data="gmm2d_anisotropic", init_var=0.03, sweeps=20)
IMAGES = RBMConfig(
    data="mnist",
    steps=2000,
    n_hidden=500,
    negatives="noise",
    sweeps=20,
    optimizer="adam",
    learning_rate=0.003,
    min_std=0.0,
    noise=0.05,
)
# the paper's, with the temperature made explicit: T = 1, so that density and samples belong together
PAPER = RBMConfig(
    batch_size=512,
    n_chains=512,
    negatives="noise",
    sweeps=100,
    burn_in=0,
    sampler="gibbs-langevin",
    optimizer="sgd",
    learning_rate=0.01,
    init="paper",
)
EPOCHS, BATCHES = 3000, 60_000 // 512
PRESETS: dict[tuple[str, str], RBMConfig] = {
    ("gmm2d", "small"): GMM,
    ("gmm2d_anisotropic", "small"): GMM_ANISOTROPIC,
    ("digits", "small"): DIGITS,
    ("mnist", "small"): IMAGES,
    ("fashion_mnist", "small"): replace(IMAGES, data="fashion_mnist"),
    ("cifar10", "small"): replace(IMAGES, data="cifar10", n_hidden=1000),
    ("gmm2d", "paper"): replace(
        PAPER, data="gmm2d", steps=500_000, batch_size=100, n_chains=100, n_hidden=256, metropolis=True, standardise="none"
    ),
    ("mnist", "paper"): replace(PAPER, data="mnist", steps=EPOCHS * BATCHES, n_hidden=4096, noise=0.05, min_std=0.0),
    ("fashion_mnist", "paper"): replace(
        PAPER, data="fashion_mnist", steps=EPOCHS * BATCHES, n_hidden=10_000, noise=0.05, min_std=0.0
    ),
    ("cifar10", "paper"): replace(PAPER, data="cifar10", steps=EPOCHS * 97, n_hidden=10_000, noise=0.05, min_std=0.0),
}
for _name, _hidden in (("mnist", 4096), ("fashion_mnist", 10_000), ("cifar10", 10_000)):
    PRESETS[_name, "large"] = replace(
        IMAGES,
        data=_name,
        steps=40_000,
        batch_size=512,
        n_chains=512,
        n_hidden=_hidden,
        sweeps=100,
        weight_scale=0.01,
        optimizer="sgd",
        learning_rate=0.05,
        clip=10.0,
        products="bfloat16",
    )
for _name in ("gmm2d", "digits", "mnist", "fashion_mnist", "cifar10"):
    PRESETS[_name, "tiny"] = replace(
        PRESETS[_name, "small"], batch_size=16, n_chains=16, n_hidden=8, sweeps=2, limit=200, ais_sweeps=0
    )
for _name in ("gmm2d", "mnist", "fashion_mnist", "cifar10"):
    PRESETS[_name, "released"] = replace(
        PRESETS[_name, "paper"],
        released_scaling=True,
        metropolis=False,
        step_size=10.0 if _name == "gmm2d" else 20.0,
        standardise="none" if _name == "gmm2d" else "all",
    )


def rbm_preset(data: str, variant: str = "small") -> RBMConfig:
    """The settings to start from.

    Args:
        data: a data set's name; an unknown one gets the settings of images.
        variant: "tiny" (that it runs, in seconds), "small" (ours, minutes on a CPU), "paper" (the paper's sizes and optimiser at temperature 1; the settings
            for CIFAR-10 are our own), "released" (with the released program's temperature T = batch size), "large" (ours at the
            paper's sizes, for a GPU).

    Raises:
        ValueError: another variant; names those there are.
    """
    name = data if data in PLANE or data == "digits" else data.strip().lower().replace("-", "_")
    found = sorted({v for n, v in PRESETS if n == name})
    if (name, variant) in PRESETS:
        return PRESETS[name, variant]
    if variant == "small":
        return replace(IMAGES, data=data)
    raise ValueError(f"no variant {variant!r} of the settings for {data!r}; there are {found or ['small']}")
