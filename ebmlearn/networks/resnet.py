"""Energy networks for images: a pre-activation ResNet with spectral normalisation, and an MLP on pixels for very small images."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .mlp import MLP

Stages = Sequence[tuple[int, int]]


def _leaky() -> nn.Module:
    return nn.LeakyReLU(0.2)


class SpectralConv2d(nn.Conv2d):
    """A convolution whose kernel, read as a matrix (out, in k k), is divided by its largest singular value.

    W / sigma with sigma = u^T W v; u and v are buffers that `power_iterate` brings to the singular vectors. Unlike the
    usual implementation a forward pass never changes them, so any number of forwards between two optimiser steps see
    the same function. With `spectral_norm=False` it is an ordinary convolution.

    References:
        Spectral normalization for generative adversarial networks (Miyato et al., 2018).
    """

    u: Tensor
    v: Tensor

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, *, bias: bool = True, spectral_norm: bool = True
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=bias)
        self.spectral_norm = spectral_norm
        nn.init.kaiming_normal_(self.weight, nonlinearity="linear")
        if self.bias is not None:
            nn.init.zeros_(self.bias)
        if spectral_norm:
            rows, columns = out_channels, in_channels * kernel_size**2
            self.register_buffer("u", F.normalize(torch.randn(rows), dim=0))
            self.register_buffer("v", F.normalize(torch.randn(columns), dim=0))
            self.power_iterate(30)

    @torch.no_grad()
    def power_iterate(self, n: int = 1) -> None:
        """n steps of v <- W^T u / |.|, u <- W v / |.|."""
        if self.spectral_norm:
            w = self.weight.flatten(1)
            for _ in range(n):
                self.v.copy_(F.normalize(w.mT @ self.u, dim=0))
                self.u.copy_(F.normalize(w @ self.v, dim=0))

    def effective_weight(self) -> Tensor:
        """W / sigma, with its gradient in W."""
        if not self.spectral_norm:
            return self.weight
        return self.weight / torch.dot(self.u, self.weight.flatten(1) @ self.v)

    def forward(self, x: Tensor) -> Tensor:
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return F.conv2d(x, self.effective_weight().to(x.dtype), bias, padding=self.padding)

    def split_forward(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        """The convolution in a narrow `dtype` of an image that is wider: x = high + low, two numbers of that dtype.

        bfloat16 near 1 is spaced 2^-8, wider than a sampler's noise of 1e-3; the sum of two carries 16 bits, so nothing
        of the image is rounded away. Channels are filled up to a multiple of 8, which matrix units want.
        """
        high = x.to(dtype)
        low = (x.detach() - high.detach().to(x.dtype)).to(dtype)  # its gradient in x is zero: high carries it
        weight = self.effective_weight().to(dtype)
        n, c, h, w = x.shape
        fill = -2 * c % 8
        image = torch.cat([high, low, high.new_zeros(n, fill, h, w)], 1).contiguous(memory_format=torch.channels_last)
        kernel = torch.cat([weight, weight, weight.new_zeros(weight.shape[0], fill, *weight.shape[2:])], 1)
        bias = None if self.bias is None else self.bias.to(dtype)
        return F.conv2d(image, kernel, bias, padding=self.padding)


class PreActBlock(nn.Module):
    """x + conv(act(conv(act(x)))), without normalisation; a 1x1 convolution on the skip where the width changes."""

    def __init__(self, in_channels: int, out_channels: int, *, spectral_norm: bool = True) -> None:
        super().__init__()
        self.first = SpectralConv2d(in_channels, out_channels, 3, spectral_norm=spectral_norm)
        self.second = SpectralConv2d(out_channels, out_channels, 3, spectral_norm=spectral_norm)
        self.skip: nn.Module = nn.Identity()
        if in_channels != out_channels:
            self.skip = SpectralConv2d(in_channels, out_channels, 1, bias=False, spectral_norm=spectral_norm)

    def forward(self, x: Tensor) -> Tensor:
        return self.skip(x) + self.second(F.leaky_relu(self.first(F.leaky_relu(x, 0.2)), 0.2))


class Tower(nn.Module):
    """Stem, stages of blocks with 2 x 2 average pooling between stages, activation, global average: image -> [N, channels]."""

    def __init__(self, in_channels: int, stages: Stages, *, spectral_norm: bool = True) -> None:
        super().__init__()
        width = stages[0][0]
        self.stem = SpectralConv2d(in_channels, width, 3, spectral_norm=spectral_norm)
        blocks: list[nn.Module] = []
        for i, (channels, depth) in enumerate(stages):
            if i > 0:
                blocks.append(nn.AvgPool2d(2))
            for _ in range(depth):
                blocks.append(PreActBlock(width, channels, spectral_norm=spectral_norm))
                width = channels
        self.blocks = nn.Sequential(*blocks)
        self.out_channels = width

    def forward(self, x: Tensor, trunk_dtype: torch.dtype | None) -> Tensor:
        h = self.stem(x) if trunk_dtype is None else self.stem.split_forward(x, trunk_dtype)
        h = self.blocks(h)
        return F.leaky_relu(h, 0.2).to(x.dtype).mean((-2, -1))


class EnergyResNet(nn.Module):
    """Pre-activation ResNet without batch statistics, f: image `[*batch, C, H, W]` in [0, 1] -> `[*batch, out_features]`.

    Every convolution is spectrally normalised, no linear layer is. With `towers` > 1 further towers see the image averaged
    over 2 x 2, 4 x 4, ... pixels and the pooled features are joined (multi-scale).

    Args:
        in_channels: C.
        stages: (channels, blocks) of each stage; 2 x 2 pooling between stages.
        towers: number of scales.
        hidden_features: width of the head's hidden layer.
        out_features: d, the dimension of f(x).
        trunk_dtype: dtype of everything up to the global average, e.g. torch.bfloat16; None is the input's. The image
            enters as the sum of two such numbers (`SpectralConv2d.split_forward`); average and head stay in its own dtype.

    References:
        Guiding energy-based models via contrastive latent variables (Lee, Jeong, Park, Shin, 2023), appendix.
    """

    def __init__(
        self,
        *,
        in_channels: int = 3,
        stages: Stages = ((128, 2), (128, 2), (256, 2), (256, 2)),
        towers: int = 1,
        hidden_features: int = 2048,
        out_features: int = 128,
        spectral_norm: bool = True,
        trunk_dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.towers = nn.ModuleList(Tower(in_channels, stages, spectral_norm=spectral_norm) for _ in range(towers))
        joined = sum(t.out_channels for t in self.towers)  # type: ignore[misc]
        self.head = MLP(joined, out_features, hidden_features=(hidden_features,), activation=_leaky)
        small_init(self.head)
        self.in_channels = in_channels
        self.out_features = out_features
        self.trunk_dtype = trunk_dtype

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim < 3 or x.shape[-3] != self.in_channels:
            raise ValueError(f"expected images [*batch, {self.in_channels}, H, W]; got shape {tuple(x.shape)}")
        image = (2 * x - 1).reshape(-1, *x.shape[-3:])
        pooled = []
        for i, tower in enumerate(self.towers):
            pooled.append(tower(image if i == 0 else F.avg_pool2d(image, 2**i), self.trunk_dtype))
        return self.head(torch.cat(pooled, dim=-1)).reshape(*x.shape[:-3], self.out_features)


class ImageMLP(nn.Module):
    """An MLP on the pixels of small images, `[*batch, C, H, W]` in [0, 1] -> `[*batch, out_features]`; SiLU, no normalisation."""

    def __init__(
        self, image_shape: tuple[int, int, int], *, hidden_features: Sequence[int] = (256, 256, 256), out_features: int = 32
    ) -> None:
        super().__init__()
        self.image_shape = tuple(image_shape)
        self.out_features = out_features
        n = image_shape[0] * image_shape[1] * image_shape[2]
        self.mlp = MLP(n, out_features, hidden_features=hidden_features)

    def forward(self, x: Tensor) -> Tensor:
        if tuple(x.shape[-3:]) != self.image_shape:
            raise ValueError(f"expected images [*batch, {', '.join(map(str, self.image_shape))}]; got shape {tuple(x.shape)}")
        return self.mlp(2 * x.flatten(-3) - 1)


def small_init(module: nn.Module, std: float = 0.01) -> None:
    """Linear weights from N(0, std²), biases 0: energies begin near zero."""
    for m in module.modules():
        if isinstance(m, nn.Linear):
            nn.init.normal_(m.weight, std=std)
            if m.bias is not None:
                nn.init.zeros_(m.bias)


def projection(features: int, *, hidden_features: int, out_features: int | None = None) -> MLP:
    """A bias-free LeakyReLU MLP: positively homogeneous, so its direction does not see the length of its input."""
    return MLP(features, out_features or features, hidden_features=(hidden_features,), activation=_leaky, bias=False)


def power_iterate(module: nn.Module, n: int = 1) -> None:
    """Bring the singular vectors of every spectral convolution up to date; once after each optimiser step."""
    for m in module.modules():
        if isinstance(m, SpectralConv2d):
            m.power_iterate(n)


def baked_twin(module: nn.Module, *, trunk_dtype: torch.dtype | None = None) -> nn.Module:
    """A frozen copy of `module` whose convolutions are plain, for the sampler's loop; fill it with `bake`.

    Args:
        trunk_dtype: dtype in which the twin keeps and runs its residual blocks (not stem and head).
    """
    twin = copy.deepcopy(module)
    for m in twin.modules():
        if isinstance(m, SpectralConv2d) and m.spectral_norm:
            m.spectral_norm = False
            del m.u, m.v
    for m in twin.modules():
        if isinstance(m, EnergyResNet):
            m.trunk_dtype = trunk_dtype
            if trunk_dtype is not None:
                for tower in m.towers:
                    tower.blocks.to(trunk_dtype)  # type: ignore[union-attr, operator]
    twin.requires_grad_(False)
    twin.eval()
    bake(module, twin)
    return twin


@torch.no_grad()
def bake(module: nn.Module, twin: nn.Module) -> None:
    """Write the effective weights of `module` into the tensors of its `baked_twin`, in place (captured graphs keep pointers)."""
    theirs = dict(twin.named_parameters())
    for name, m in module.named_modules():
        for key, p in m.named_parameters(prefix=name, recurse=False):
            is_kernel = isinstance(m, SpectralConv2d) and key.endswith("weight")
            theirs[key].copy_(m.effective_weight() if is_kernel else p)  # type: ignore[operator]


RESNETS: dict[str, dict[str, object]] = {
    "tiny": {"stages": ((16, 1), (32, 1)), "hidden_features": 128, "out_features": 32},
    "small": {"stages": ((64, 1), (64, 1), (128, 1), (128, 1))},
    "medium": {"stages": ((64, 2), (64, 2), (128, 2), (128, 2)), "hidden_features": 1024},
    "base": {"stages": ((128, 2), (128, 2), (256, 2), (256, 2))},
    "large": {"stages": ((256, 2), (256, 2), (256, 2), (256, 2)), "towers": 3},
}


def energy_resnet(size: str, *, in_channels: int = 3, trunk_dtype: torch.dtype | None = None) -> EnergyResNet:
    """An `EnergyResNet` by name: tiny, small, medium, base or large.

    Example:
        >>> sum(p.numel() for p in energy_resnet("tiny", in_channels=1).parameters())
        27552
    """
    if size not in RESNETS:
        raise ValueError(f"expected one of {sorted(RESNETS)}; got {size!r}")
    return EnergyResNet(in_channels=in_channels, trunk_dtype=trunk_dtype, **RESNETS[size])  # type: ignore[arg-type]
