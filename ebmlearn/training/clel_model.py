"""What CLEL trains and what is done with it afterwards: settings, networks, the trained model, its latents and its samplers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import contrastive
from ..datasets import images
from ..datasets.augment import AUGMENTS, Augment
from ..datasets.digits import LEVELS, digits
from ..datasets.sprites import sprites
from ..energies.base import Energy
from ..energies.spherical import SphericalJoint
from ..networks.encoder import ConvEncoder, ResNetEncoder
from ..networks.resnet import ImageMLP, baked_twin, energy_resnet, projection, small_init
from ..samplers import Clamped, Langevin
from .engine import ChainRunner
from .state import plain
from .weights import read_tensors, slim, write_card, write_tensors

ENCODERS = ("simclr", "byol", "mae", "supervised", "random", "none")


@dataclass(frozen=True, kw_only=True)
class ClelConfig:
    """Hyperparameters of CLEL; the defaults are those of the 8x8 digits. `clel_preset` gives those of other data.

    Args:
        data: "digits", "sprites", "mnist", "fashion_mnist" or "cifar10".
        seed: of the parameters, the batch order, the buffer, the augmentation and the chains.
        steps: training iterations.
        batch_size: data images, and chains, an iteration (over all processes).
        encoder: what the latent comes from: "simclr", "byol", "mae", "supervised", "random" (a fixed encoder), or "none":
            no latent, a plain energy-based model.
        beta: weight of -cos(g(f(x)), z) in the energy; 0 for the plain model.
        extra_negatives: append g(f(x-)) to NT-Xent's negatives.
        temperature: of NT-Xent (and of the supervised encoder's softmax).
        energy_l2: alpha, weight of mean E(x+)² + mean E(x-)².
        network: f: "mlp" (pixels of small images) or a ResNet: "tiny", "small", "medium", "base", "large".
        encoder_width: channels of the first stage of the encoder.
        project_features: hidden width of g.
        mcmc_steps, step_size, noise: Langevin steps an iteration, eta, and the noise's standard deviation.
        buffer_size: persistent chains.
        restart_prob: probability with which a drawn chain starts afresh.
        views: augmentation of the encoder's input, a name in `datasets.augment.AUGMENTS`.
        chains: augmentation of the chains drawn from the buffer, before they move.
        learning_rate: Adam's, of the energy; linear warm-up over `warm_up` iterations.
        decay: after 60 % of the run the learning rate falls linearly to 5 %; False keeps it constant.
        encoder_rate: learning rate of the encoder, Adam's for the small encoder, SGD's with cosine decay for the ResNet.
        ema: decay of the moving averages.
        trunk: "float32", or "bf16": convolutions and encoder in bfloat16; images, noise, head, losses in float32.
        engine: how a Langevin step runs: "auto", "eager", "graph" (CUDA graph), "compile".
    """

    data: str = "digits"
    seed: int = 0
    steps: int = 2200
    batch_size: int = 64
    encoder: str = "simclr"
    beta: float = 0.1
    extra_negatives: bool = True
    temperature: float = 0.2
    energy_l2: float = 1.0
    network: str = "mlp"
    encoder_width: int = 16
    project_features: int = 64
    mcmc_steps: int = 30
    step_size: float = 0.1
    noise: float = 0.01
    buffer_size: int = 2000
    restart_prob: float = 0.01
    views: str = "digits-views"
    chains: str = "digits-chains"
    learning_rate: float = 3e-4
    warm_up: int = 200
    decay: bool = True
    encoder_rate: float = 1e-3
    ema: float = 0.998
    trunk: str = "float32"
    engine: str = "auto"

    def __post_init__(self) -> None:
        for name, value, known in (
            ("encoder", self.encoder, ENCODERS),
            ("trunk", self.trunk, ("float32", "bf16")),
            ("views", self.views, tuple(AUGMENTS)),
            ("chains", self.chains, tuple(AUGMENTS)),
        ):
            if value not in known:
                raise ValueError(f"expected {name} to be one of {known}; got {value!r}")


_PAPER = ClelConfig(
    data="cifar10",
    steps=100_000,
    beta=0.01,
    network="base",
    encoder_width=64,
    project_features=2048,
    mcmc_steps=60,
    step_size=100.0,
    noise=0.001,
    buffer_size=10_000,
    restart_prob=0.001,
    views="simclr",
    chains="simclr",
    learning_rate=1e-4,
    warm_up=2000,
    decay=False,
    encoder_rate=0.03,
    ema=0.5 ** (64 / 20_000),
    trunk="bf16",
)
_FASHION = replace(
    _PAPER,
    data="fashion_mnist",
    steps=20_000,
    batch_size=128,
    network="medium",
    encoder_width=32,
    project_features=1024,
    views="fashion-views",
    chains="fashion-chains",
    warm_up=500,
    decay=True,
)
PRESETS: dict[tuple[str, str], ClelConfig] = {
    ("digits", "default"): ClelConfig(),
    ("sprites", "default"): replace(
        ClelConfig(), data="sprites", steps=3000, step_size=0.3, restart_prob=0.02, views="sprite-views", chains="sprite-chains"
    ),
    ("cifar10", "default"): _PAPER,
    ("cifar10", "base"): _PAPER,
    ("cifar10", "large"): replace(_PAPER, network="large", batch_size=128),
    ("cifar10", "small"): replace(_PAPER, network="small"),
}
for _name in ("mnist", "fashion_mnist"):
    PRESETS[_name, "default"] = replace(_FASHION, data=_name)
    PRESETS[_name, "small"] = replace(PRESETS[_name, "default"], network="small", encoder_width=16, project_features=256)
    PRESETS[_name, "base"] = replace(PRESETS[_name, "default"], network="base", encoder_width=64, project_features=2048)
for _name, _ in [key for key in PRESETS if key[1] == "default"]:
    PRESETS[_name, "tiny"] = replace(
        PRESETS[_name, "default"], batch_size=8, buffer_size=64, mcmc_steps=3, encoder_width=8, project_features=64
    )
    if PRESETS[_name, "tiny"].network != "mlp":
        PRESETS[_name, "tiny"] = replace(PRESETS[_name, "tiny"], network="tiny")


def clel_preset(data: str, preset: str = "default") -> ClelConfig:
    """The settings to start from: the digits' recipe, for Fashion-MNIST one of minutes on a GPU, for CIFAR-10 the paper's.

    Args:
        data: a data set's name.
        preset: "default"; "base" and "large" (the paper's networks), "small" (its ablation network), "tiny" (that it runs).

    Raises:
        ValueError: another one; lists those there are.

    Example:
        >>> clel_preset("cifar10", "base").mcmc_steps
        60
    """
    if (data, preset) not in PRESETS:
        raise ValueError(
            f"no preset {preset!r} of clel for {data!r}; there are {', '.join(f'{d}: {p}' for d, p in sorted(PRESETS))}"
        )
    return PRESETS[data, preset]


def plain_ebm(config: ClelConfig) -> ClelConfig:
    """The same settings without a latent: the baseline of every comparison."""
    return replace(config, encoder="none", beta=0.0, extra_negatives=False)


def load_bytes(data: str, split: str) -> tuple[Tensor, Tensor, int]:
    """Images `[N, C, H, W]` uint8, classes `[N]`, and the number of grey levels (17 for the digits, else 256)."""
    if data == "digits":
        x, y = digits(split)  # type: ignore[arg-type]
        return (x * (LEVELS - 1)).round().to(torch.uint8), y, LEVELS
    if data == "sprites":  # class = 3 shape + colour
        x, shape, colour = sprites(
            5000 if split == "train" else 1000, generator=torch.Generator().manual_seed(int(split == "test"))
        )
        return x, 3 * shape + colour, 256
    x, labels = images.load(data, split)  # type: ignore[arg-type]
    return x, torch.zeros(len(x), dtype=torch.long) if labels is None else labels, 256


def build_joint(config: ClelConfig, image_shape: tuple[int, int, int]) -> SphericalJoint:
    """E(x, z) = 1/2 ||f||² - beta cos(g(f), z) with fresh networks."""
    trunk = torch.bfloat16 if config.trunk == "bf16" else None
    f: nn.Module
    if config.network == "mlp":
        f = ImageMLP(image_shape)
    else:
        f = energy_resnet(config.network, in_channels=image_shape[0], trunk_dtype=trunk)
    g = projection(f.out_features, hidden_features=config.project_features)  # type: ignore[arg-type]
    if config.network != "mlp":
        small_init(g)
    return SphericalJoint(f, g, beta=config.beta)


def build_encoder(config: ClelConfig, image_shape: tuple[int, int, int], out_features: int) -> nn.Module:
    """h: the small convolutional encoder for images below 16 pixels, else ResNet-18-like."""
    if image_shape[-1] < 16:
        return ConvEncoder(
            image_shape, width=config.encoder_width, out_features=out_features, batch_norm=config.encoder == "byol"
        )
    return ResNetEncoder(
        in_channels=image_shape[0],
        width=config.encoder_width,
        hidden_features=32 * config.encoder_width,
        out_features=out_features,
    )


def build_learner(
    config: ClelConfig,
    image_shape: tuple[int, int, int],
    out_features: int,
    *,
    n_classes: int = 10,
    gather: contrastive.Gather | None = None,
) -> contrastive.Learner | None:
    """The representation learner that a configuration names; None for "none"."""
    if config.encoder == "none":
        return None
    h = build_encoder(config, image_shape, out_features)
    if config.encoder == "simclr":
        return contrastive.SimCLR(h, temperature=config.temperature, gather=gather or contrastive.identity)
    if config.encoder == "byol":
        return contrastive.BYOL(h, out_features=out_features)
    if config.encoder == "mae":
        patch = 2 if image_shape[-1] < 16 else 4
        return contrastive.MAE(h, image_shape=image_shape, out_features=out_features, patch=patch)
    if config.encoder == "supervised":
        return contrastive.Supervised(h, out_features=out_features, n_classes=n_classes, temperature=config.temperature)
    return contrastive.Fixed(h)


def kernel_of(config: ClelConfig) -> Clamped:
    """The Langevin kernel of a configuration, clamped to [0, 1]; its temperature is noise²/(2 step_size)."""
    return Clamped(kernel=Langevin(step_size=config.step_size, noise=config.noise), low=0.0, high=1.0)


class ClelModel(nn.Module):
    """A trained model: f, g with the spectral norm divided out, and the encoder h (None for a plain model); all frozen.

    Args:
        config: what it was trained with.
        joint: E(x, z), from the moving averages.
        encoder: h, or None.
        image_shape: (C, H, W).
    """

    def __init__(
        self, config: ClelConfig, joint: SphericalJoint, encoder: nn.Module | None, image_shape: tuple[int, int, int]
    ) -> None:
        super().__init__()
        self.config = config
        self.joint = baked_twin(joint, trunk_dtype=torch.bfloat16 if config.trunk == "bf16" else None)
        self.encoder = encoder
        self.image_shape = tuple(image_shape)
        if encoder is not None:
            encoder.eval().requires_grad_(False)

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def energy(self) -> Energy:
        """E(x) = 1/2 ||f(x)||², the exact marginal up to a constant."""
        return self.joint.marginalise()  # type: ignore[operator]

    @torch.no_grad()
    def latents(self, x: Tensor, *, batch: int = 1024) -> Tensor:
        """z = h(x)/||h(x)||, `[N, d]`."""
        if self.encoder is None:
            raise ValueError("this model was trained without an encoder; it has no latents")
        return torch.cat([F.normalize(self.encoder(b.to(self.device)).float(), dim=-1) for b in x.split(batch)])

    def class_latents(
        self, x: Tensor, y: Tensor, *, n_classes: int = 10, views: int = 4, generator: torch.Generator | None = None
    ) -> Tensor:
        """One latent a class: the mean of h over augmented images of the class minus the grand mean, normalised: `[n_classes, d]`."""
        augment = AUGMENTS[self.config.views]
        zs = torch.stack([self.latents(augment(x.to(self.device), generator=generator)) for _ in range(views)]).mean(0)
        means = torch.stack([zs[y.to(zs.device) == k].mean(0) for k in range(n_classes)])
        return F.normalize(means - means.mean(0), dim=-1)

    def conditional(self, terms: Sequence[tuple[Tensor, float]]) -> Energy:
        """1/2 ||f(x)||² - sum_i w_i cos(g(f(x)), z_i); no terms is the marginal."""
        return self.joint.compose([(z.to(self.device), w) for z, w in terms]) if terms else self.energy()  # type: ignore[operator]

    def sample(
        self,
        n: int,
        *,
        terms: Sequence[tuple[Tensor, float]] = (),
        start: Tensor | None = None,
        rounds: int = 5,
        steps: int = 60,
        generator: torch.Generator | None = None,
        batch: int | None = None,
        engine: str | None = None,
    ) -> Tensor:
        """Images from fresh noise: rounds of [augmentation of the chains (not in the first), `steps` Langevin steps], twice as many in the last.

        Args:
            n: number of images.
            terms: (z, w) pairs of `conditional`; z is one latent or one for each image.
            start: starting images `[n, C, H, W]`; None is uniform noise.
            batch: chains run at once; None is all.
            engine: as in `ClelConfig`; None is the configuration's.
        """
        device, augment = self.device, AUGMENTS[self.config.chains]
        mode = self.config.engine if engine is None else engine
        runner: ChainRunner | None = None
        out = []
        size = n if batch is None else batch
        for first in range(0, n, size):
            rows = slice(first, min(first + size, n))
            if runner is None or terms:
                part = [(z[rows] if z.ndim > 1 else z, w) for z, w in terms]
                runner = ChainRunner(self.conditional(part), kernel_of(self.config), mode)
            count = rows.stop - first
            x = (
                torch.rand(count, *self.image_shape, device=device, generator=generator)
                if start is None
                else start[rows].to(device)
            )
            out.append(run_rounds(runner, x, augment, rounds=rounds, steps=steps, generator=generator))
        return torch.cat(out)

    def ood_score(self, x: Tensor, *, weight: float, batch: int = 1024) -> Tensor:
        """-(1/2 ||f(x)||² - weight cos(g(f(x)), h(x))), higher = in-distribution; weight 0 is the marginal's."""
        scores = []
        with torch.no_grad():
            for b in x.split(batch):
                b = b.to(self.device)
                e, u = self.joint.parts(b)  # type: ignore[operator]
                if weight:
                    e = e - weight * F.cosine_similarity(u, self.latents(b), dim=-1)
                scores.append(-e)
        return torch.cat(scores).float().cpu()


def run_rounds(
    runner: ChainRunner, x: Tensor, augment: Augment, *, rounds: int, steps: int, generator: torch.Generator | None
) -> Tensor:
    """Rounds of [augment (not in the first), `steps` steps]; the last round takes twice as many."""
    for i in range(rounds):
        if i > 0:
            x = augment(x, generator=generator)
        x = runner.run(x, steps if i < rounds - 1 else 2 * steps, generator=generator)
    return x


def export_clel(model: ClelModel, folder: Path, *, card: dict[str, object] | None = None) -> list[Path]:
    """Write slim weights and the card with their hashes.

    Returns:
        The files written.
    """
    folder = Path(folder)
    sums = write_tensors(folder, slim(model.state_dict()))
    entries = {"kind": "clel", "config": plain(model.config), "image_shape": list(model.image_shape), "sha256": sums}
    write_card(folder, {**entries, **(card or {})})
    return [folder / n for n in (*sums, "card.json")]


def import_clel(folder: Path, *, trunk: str = "float32") -> ClelModel:
    """Read what `export_clel` wrote, to run with `trunk`; every weight file's hash is verified."""
    folder = Path(folder)
    card = json.loads((folder / "card.json").read_text())
    tensors = read_tensors(folder, card["sha256"])
    config = replace(ClelConfig(**card["config"]), trunk=trunk)
    c, h, w = card["image_shape"]
    joint = build_joint(config, (c, h, w))
    encoder = None if config.encoder == "none" else build_encoder(config, (c, h, w), joint.f.out_features)  # type: ignore[arg-type]
    model = ClelModel(config, joint, encoder, (c, h, w))
    own = model.state_dict()
    model.load_state_dict({k: v.to(own[k].dtype) for k, v in tensors.items()})
    return model
