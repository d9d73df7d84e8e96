"""The players of generalized contrastive divergence: their hyperparameters, their networks and the state of a run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from .. import datasets
from ..energies.base import Energy
from ..energies.confined import ConfinedEnergy
from ..networks.fourier import FourierMLP, StepMLP
from ..networks.unet import StepEncoder, UNet
from ..samplers.diffusion import Backward, DiffusionSampler, cosine_alpha_bar, spaced
from .files import write_atomic
from .processes import share
from .state import BatchStream, TrainState, ema_of

UPDATES = ("pg", "bptt", "dp")
NEGATIVES = ("weighted", "plain")
KERNELS = ("learned", "forward", "walk")
POOL = 200_000  # points drawn once from a toy set; a finite set is used as it is


@dataclass(frozen=True, kw_only=True)
class GcdConfig:
    """Hyperparameters of GCD; the defaults are those of points in the plane.

    Args:
        data: a name from `ebmlearn data`, or a path to own data.
        seed: of the networks, the batch order and the paths.
        pretrain_steps: updates of the denoising loss before the game begins; 0 with `init` or to start from nothing.
        pretrain_batch_size, pretrain_learning_rate: of these updates; the rate falls linearly to 0.
        init: a `sampler.safetensors` of an earlier run to start from.
        steps: updates of the game, after the pretraining.
        batch_size: data points, and paths, an update.
        sampler_steps: T, actions of a path.
        last_sigma: starting noise of the last action.
        table: noise levels that the network knows; 0 means T, more makes the T-step sampler from a longer one.
        update: of the sampler: "pg" (policy gradient with a value baseline), "bptt" (back through the T steps) or "dp"
            (dynamic programming: one reparametrised step through the value function).
        negatives: of the energy: "weighted" (importance-weighted paths) or "plain" (the papers').
        entropy: False drops the path terms from the sampler's cost: an integral probability metric without entropy.
        temperature: tau, the weight of the entropy beside the energy.
        gamma: weight of mean E(x+)² + mean E(x-)².
        backward: kernel of the path bound: "learned", "forward" (the noising step) or "walk".
        lr_energy, lr_sampler, lr_sigma, lr_backward, lr_value: Adam's rates; constant for half of the game, then linear to 0.
        sampler_updates: sampler updates for each energy update.
        warm_up: updates of the game before the sampler moves.
        freeze_energy_at: update of the game from which the energy stays as it is; 0 never.
        clip_norm: bound on the norm of the sampler's gradient.
        ema: decay of the moving averages of sampler, energy and kernel, which all results use; 0 is none.
        hidden_features: widths of the points' networks.
        fourier_features, fourier_scale: of the points' energy; 0 features is a plain MLP.
        confinement: c of the points' energy f(x) + c |x|²: it must lift what neither data nor sampler ever visit.
        width, multipliers, blocks, energy_width: of the images' UNet and encoder.
    """

    data: str = "8gaussians"
    seed: int = 0
    pretrain_steps: int = 2500
    pretrain_batch_size: int = 512
    pretrain_learning_rate: float = 1e-3
    init: str = ""
    steps: int = 1500
    batch_size: int = 256
    sampler_steps: int = 5
    last_sigma: float = 0.1
    table: int = 0
    update: str = "pg"
    negatives: str = "weighted"
    entropy: bool = True
    temperature: float = 1.0
    gamma: float = 0.0
    backward: str = "learned"
    lr_energy: float = 2e-3
    lr_sampler: float = 2e-4
    lr_sigma: float = 2e-3
    lr_backward: float = 1e-3
    lr_value: float = 1e-3
    sampler_updates: int = 1
    warm_up: int = 100
    freeze_energy_at: int = 0
    clip_norm: float = 1.0
    ema: float = 0.998
    hidden_features: tuple[int, ...] = (128, 128, 128)
    fourier_features: int = 64
    fourier_scale: float = 1.0
    confinement: float = 1 / 8
    width: int = 48
    multipliers: tuple[int, ...] = (1, 2, 2)
    blocks: int = 1
    energy_width: int = 64

    def __post_init__(self) -> None:
        for name, choices in (("update", UPDATES), ("negatives", NEGATIVES), ("backward", KERNELS)):
            if getattr(self, name) not in choices:
                raise ValueError(f"expected {name} to be one of {', '.join(choices)}; got {getattr(self, name)!r}")
        if self.temperature <= 0 or self.gamma < 0:
            raise ValueError(f"expected temperature > 0 and gamma >= 0; got {self.temperature} and {self.gamma}")


IMAGES = GcdConfig(
    data="digits",
    pretrain_steps=3000,
    pretrain_batch_size=64,
    steps=400,
    batch_size=64,
    last_sigma=0.02,
    table=1000,
    update="bptt",
    negatives="plain",
    temperature=1e-4,
    gamma=1.0,
    backward="forward",
    lr_energy=1e-3,
    lr_sampler=1e-5,
    lr_sigma=1e-3,
    warm_up=50,
    width=16,
    multipliers=(1, 2),
    energy_width=32,
)
LARGE = replace(
    IMAGES,
    pretrain_steps=20_000,
    pretrain_batch_size=256,
    pretrain_learning_rate=4e-4,
    steps=4000,
    batch_size=128,
    sampler_steps=10,
    temperature=1e-5,
    lr_energy=5e-4,
    warm_up=100,
    width=64,
    multipliers=(1, 2, 2),
    blocks=2,
    energy_width=64,
)


TINY = {"batch_size": 8, "pretrain_batch_size": 8, "sampler_steps": 3, "warm_up": 1}
PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "points": {"default": {}, "tiny": {**TINY, "hidden_features": (8, 8), "fourier_features": 4}},
    "small images": {"default": {}, "tiny": {**TINY, "table": 20, "width": 8, "energy_width": 8}},
    "images": {
        "default": {},
        "tiny": {**TINY, "table": 20, "width": 8, "multipliers": (1, 2), "blocks": 1, "energy_width": 8},
        "small": {"width": 32, "blocks": 1, "energy_width": 32},
        "base": {"pretrain_steps": 100_000, "width": 96, "ema": 0.9995, "pretrain_learning_rate": 2e-4},
        "large": {
            "pretrain_steps": 400_000,
            "pretrain_batch_size": 128,
            "pretrain_learning_rate": 2e-4,
            "width": 128,
            "multipliers": (1, 2, 2, 2),
            "energy_width": 128,
            "ema": 0.9999,
        },
    },
}


def gcd_preset(data: str, preset: str = "default") -> GcdConfig:
    """The settings to start from: importance weights and policy gradient in the plane, plain negatives on images.

    Args:
        data: a name from `ebmlearn data`, or a path to own data.
        preset: "default"; "tiny" (that it runs); for images of 9 pixels and more also "small", "base" (a UNet of 96 channels) and
            "large" (of 128, four resolutions).

    Raises:
        ValueError: another one; lists those there are.
    """
    event_shape = datasets.load(data, limit=10).event_shape
    kind = "points" if len(event_shape) == 1 else "small images" if event_shape[-1] <= 8 else "images"
    if preset not in PRESETS[kind]:
        raise ValueError(f"no preset {preset!r} of gcd for {data!r}; there are {', '.join(sorted(PRESETS[kind]))}")
    start = {"points": GcdConfig(), "small images": IMAGES, "images": LARGE}[kind]
    return replace(start, data=data, **PRESETS[kind][preset])


@dataclass
class GcdState(TrainState):
    """Everything the future of a run depends on: the three players, the baseline, their averages and optimizers."""

    sampler: nn.Module
    energy: nn.Module
    backward: nn.Module
    value: nn.Module
    ema_sampler: nn.Module
    ema_energy: nn.Module
    ema_backward: nn.Module
    opt_pretrain: Any
    opt_sampler: Any
    opt_energy: Any
    opt_backward: Any
    opt_value: Any
    generator: torch.Generator
    batches: BatchStream
    pretrain_batches: BatchStream

    @property
    def trained(self) -> tuple[DiffusionSampler, Energy, Backward]:
        """The averaged sampler, energy and backward kernel: what results are computed with."""
        return self.ema_sampler.module, self.ema_energy.module, self.ema_backward.module  # type: ignore[return-value]


def is_points(data: str) -> bool:
    """Whether a data set's points are vectors (and not images)."""
    return len(datasets.load(data, limit=10).event_shape) == 1


def build_sampler(config: GcdConfig, event_shape: tuple[int, ...]) -> DiffusionSampler:
    """The untrained sampler of a configuration: a step MLP for points, a UNet for images in [-1, 1]."""
    n = config.table or config.sampler_steps
    image = len(event_shape) == 3
    net: nn.Module
    if image:
        net = UNet(channels=event_shape[0], width=config.width, multipliers=config.multipliers, n_blocks=config.blocks)
    else:
        net = StepMLP(event_shape[0], event_shape[0], n_steps=n + 1, hidden_features=config.hidden_features)
    return DiffusionSampler(
        net,
        event_shape=event_shape,
        table=cosine_alpha_bar(n),
        levels=spaced(config.sampler_steps, n),
        last_sigma=config.last_sigma,
        clip=1.0 if image else None,
    )


def build_energy(config: GcdConfig, event_shape: tuple[int, ...]) -> Energy:
    """The untrained energy: Fourier features and a bowl for points, a convolutional encoder for images."""
    if len(event_shape) == 3:
        halvings = len(config.multipliers) - 1
        encoder = StepEncoder(channels=event_shape[0], width=config.energy_width, halvings=halvings)
        encoder.gates.requires_grad_(False)  # an energy has no step: data-parallel training must not wait for their gradients
        return ConfinedEnergy(encoder, event_ndim=3)
    net = FourierMLP(
        event_shape[0], 1, hidden_features=config.hidden_features, n_features=config.fourier_features, scale=config.fourier_scale
    )
    return ConfinedEnergy(net, confinement=config.confinement)


def build_backward(config: GcdConfig, sampler: DiffusionSampler) -> Backward:
    """The backward kernel: it starts as the noising step, or as a random walk."""
    net: nn.Module | None = None
    c = sampler.event_shape[0]
    if config.backward == "learned":
        if len(sampler.event_shape) == 3:
            net = UNet(channels=c, out_channels=2 * c, width=max(8, config.width // 2), multipliers=config.multipliers)
        else:
            net = StepMLP(c, 2 * c, n_steps=sampler.steps + 1, hidden_features=config.hidden_features, zero_output=True)
    return Backward(sampler.alpha_bar, event_shape=sampler.event_shape, net=net, walk=config.backward == "walk")


def build_value(config: GcdConfig, event_shape: tuple[int, ...], steps: int) -> nn.Module:
    """V(x, k), the baseline of "pg" and the critic of "dp"."""
    if len(event_shape) == 3:
        return StepEncoder(channels=event_shape[0], width=config.energy_width, halvings=len(config.multipliers) - 1)
    return StepMLP(event_shape[0], 1, n_steps=steps + 1, hidden_features=config.hidden_features)


def training_points(data: str, *, split: Any = "train") -> Tensor:
    """The points a sampler works on: fresh draws of a toy set, images scaled from [0, 1] to [-1, 1]."""
    loaded = datasets.load(data, split=split, limit=POOL if is_points(data) else None)
    return loaded.x if len(loaded.event_shape) == 1 else 2 * loaded.x - 1


def build_state(config: GcdConfig, fabric: Any) -> GcdState:
    """The state of a run at step 0."""
    torch.manual_seed(config.seed)
    data = training_points(config.data).to(fabric.device)
    event_shape = tuple(data.shape[1:])
    sampler = build_sampler(config, event_shape)
    energy, backward = build_energy(config, event_shape), build_backward(config, sampler)
    value = build_value(config, event_shape, sampler.steps)
    if config.init:
        sampler.load_state_dict(read_weights(config.init) | {k: v for k, v in sampler.state_dict().items() if k in LEVELS})
    for module in (sampler, energy, backward, value):
        module.to(fabric.device)

    def adam(groups: list[dict[str, Any]], betas: tuple[float, float]) -> Any:
        return torch.optim.Adam([{**group, "base": group["lr"]} for group in groups], betas=betas)

    net = list(sampler.net.parameters())
    opt_sampler = adam(
        [{"params": net, "lr": config.lr_sampler}, {"params": [sampler.log_sigma], "lr": config.lr_sigma}], (0.5, 0.999)
    )
    opt_pretrain = adam([{"params": net, "lr": config.pretrain_learning_rate}], (0.9, 0.999))
    opt_energy = adam([{"params": list(energy.parameters()), "lr": config.lr_energy}], (0.0, 0.999))
    opt_value = adam([{"params": list(value.parameters()), "lr": config.lr_value}], (0.9, 0.999))
    learns = list(backward.parameters())
    opt_backward = adam([{"params": learns, "lr": config.lr_backward}], (0.5, 0.999)) if learns else None
    averages = [ema_of(m, config.ema).to(fabric.device) for m in (sampler, energy, backward)]
    wrapped, opt_sampler, opt_pretrain = fabric.setup(sampler, opt_sampler, opt_pretrain)
    for name in ("path", "mean", "denoising_loss"):
        wrapped.mark_forward_method(name)
    energy_w, opt_energy = fabric.setup(energy, opt_energy)
    value_w, opt_value = fabric.setup(value, opt_value)
    backward_w: Any = backward
    if opt_backward is not None:
        backward_w, opt_backward = fabric.setup(backward, opt_backward)
    rank, world = fabric.global_rank, fabric.world_size

    def stream(size: int, seed: int) -> BatchStream:
        return BatchStream(data, batch_size=share(min(size, len(data)), "batch size"), seed=seed, rank=rank, world_size=world)

    return GcdState(
        sampler=wrapped,
        energy=energy_w,
        backward=backward_w,
        value=value_w,
        ema_sampler=averages[0],
        ema_energy=averages[1],
        ema_backward=averages[2],
        opt_pretrain=opt_pretrain,
        opt_sampler=opt_sampler,
        opt_energy=opt_energy,
        opt_backward=opt_backward,
        opt_value=opt_value,
        generator=torch.Generator(fabric.device).manual_seed(config.seed + 1000 * (rank + 1)),
        batches=stream(config.batch_size, config.seed),
        pretrain_batches=stream(config.pretrain_batch_size, config.seed + 1),
    )


LEVELS = ("table", "alpha_bar", "levels", "log_sigma")  # a saved sampler may have been of another T


def read_weights(path: str) -> dict[str, Tensor]:
    """Weights of a `.safetensors` file, as float32."""
    from safetensors.torch import load_file

    return {k: v.float() if v.is_floating_point() else v for k, v in load_file(path).items()}


def write_weights(module: nn.Module, path: Any, *, half: bool = False) -> None:
    """Weights of a module as `.safetensors`, in bfloat16 when `half`."""
    from safetensors.torch import save

    to = torch.bfloat16 if half else torch.float32
    body = {k: (v.to(to) if v.is_floating_point() else v).detach().cpu().contiguous() for k, v in module.state_dict().items()}
    write_atomic(path, save(body))
