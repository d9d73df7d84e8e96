"""Batched augmentation of images on their own device: one affine map and one colour map for each image, no loop over images."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)


def dequantise_bytes(k: Tensor, *, levels: int = 256, generator: torch.Generator | None = None) -> Tensor:
    """(k + U) / levels in [0, 1), U uniform on [0, 1), from integers k < levels.

    Example:
        >>> x = dequantise_bytes(torch.full((100,), 255, dtype=torch.uint8), generator=torch.Generator().manual_seed(0))
        >>> bool((x >= 255 / 256).all() and (x < 1).all())
        True
    """
    u = torch.rand(k.shape, device=k.device, generator=generator)
    return (k + u).mul_(1 / levels).clamp_(max=1 - 2**-24)


def affine_sample(x: Tensor, matrix: Tensor, *, padding: str = "zeros") -> Tensor:
    """Bilinear resampling: output pixel p takes the value of x at matrix @ (p, 1), in coordinates that run from -1 to 1.

    Args:
        x: images `[B, C, H, W]`.
        matrix: `[B, 2, 3]`.
        padding: "zeros", "border" or "reflection".
    """
    grid = F.affine_grid(matrix, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode=padding, align_corners=False)


def random_affine(
    x: Tensor, *, shift: float = 0.0, zoom: float = 0.0, rotation: float = 0.0, generator: torch.Generator | None = None
) -> Tensor:
    """A small random shift, zoom and rotation of each image, `[B, C, H, W]`.

    Args:
        shift: largest shift as a fraction of the width.
        zoom: largest relative change of size.
        rotation: largest angle, in radians.

    Example:
        >>> random_affine(torch.zeros(4, 1, 8, 8), shift=0.1).shape
        torch.Size([4, 1, 8, 8])
    """
    return Augment(shift=shift * x.shape[-1], zoom=zoom, rotation=rotation)(x, generator=generator)


@functools.lru_cache(maxsize=8)
def _yiq(dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """RGB to YIQ and back."""
    to_yiq = torch.tensor([LUMA, (0.596, -0.274, -0.322), (0.211, -0.523, 0.312)], dtype=torch.float64)
    return to_yiq.to(device, dtype), torch.linalg.inv(to_yiq).to(device, dtype)


def colour_matrix(saturation: Tensor, hue: Tensor) -> Tensor:
    """`[B, 3, 3]` that scales the distance from grey by `saturation` and turns the hue by `hue` radians, keeping luma.

    x -> Y 1 + s R (x - Y 1), with Y the luma and R the rotation by `hue` in the YIQ plane.
    """
    to_yiq, from_yiq = _yiq(saturation.dtype, saturation.device)
    c, s = saturation * hue.cos(), saturation * hue.sin()
    one, zero = torch.ones_like(c), torch.zeros_like(c)
    middle = torch.stack([one, zero, zero, zero, c, -s, zero, s, c], dim=-1).reshape(-1, 3, 3)
    return from_yiq @ middle @ to_yiq


@dataclass(frozen=True, kw_only=True)
class Augment:
    """Random crop, zoom, shift, rotation, flip, colour, erasing and noise, drawn for each image.

    Geometry is one affine map, resampled once. A default of 0 (or 1) leaves that part out.

    Args:
        crop: smallest area of a random resized crop, as a fraction; 1 = none.
        ratio: largest aspect ratio of the crop (its inverse the smallest).
        shift: largest shift, in pixels.
        zoom: largest relative change of size.
        rotation: largest angle, in radians.
        flip: probability of a mirror image.
        brightness, contrast, saturation: largest relative change, each factor uniform on [1 - v, 1 + v].
        hue: largest turn, as a fraction of the circle.
        colour_prob: probability that colours change at all.
        grey: probability of a grey image.
        gain: (low, high), a factor on all intensities.
        erase: probability of a blank square of `erase_size` pixels.
        noise: standard deviation of added normal noise.
        padding: what lies outside the image: "zeros", "border" or "reflection".

    Example:
        >>> Augment(shift=1.0)(torch.zeros(4, 1, 8, 8)).shape
        torch.Size([4, 1, 8, 8])
    """

    crop: float = 1.0
    ratio: float = 4 / 3
    shift: float = 0.0
    zoom: float = 0.0
    rotation: float = 0.0
    flip: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    colour_prob: float = 1.0
    grey: float = 0.0
    gain: tuple[float, float] | None = None
    erase: float = 0.0
    erase_size: int = 3
    noise: float = 0.0
    padding: str = "zeros"

    def __post_init__(self) -> None:
        if not 0 < self.crop <= 1:
            raise ValueError(f"expected 0 < crop <= 1; got {self.crop}")
        if self.padding not in ("zeros", "border", "reflection"):
            raise ValueError(f"expected padding 'zeros', 'border' or 'reflection'; got {self.padding!r}")

    def matrix(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        """The random affine maps, `[B, 2, 3]`."""
        b, _, h, w = x.shape

        def uniform(low: float, high: float) -> Tensor:
            return low + (high - low) * torch.rand(b, dtype=x.dtype, device=x.device, generator=generator)

        sx, sy, tx, ty = (torch.ones(b, dtype=x.dtype, device=x.device), *(None,) * 3)
        sy, tx, ty = sx, sx - 1, sx - 1
        if self.crop < 1:
            area, log_ratio = uniform(self.crop, 1.0), uniform(-math.log(self.ratio), math.log(self.ratio))
            sx = (area.sqrt() * (log_ratio / 2).exp()).clamp(max=1)
            sy = (area.sqrt() * (-log_ratio / 2).exp()).clamp(max=1)
            tx, ty = uniform(-1, 1) * (1 - sx), uniform(-1, 1) * (1 - sy)
        if self.zoom > 0:
            z = uniform(1 - self.zoom, 1 + self.zoom)
            sx, sy = sx * z, sy * z
        if self.shift > 0:
            tx = tx + uniform(-1, 1) * (2 * self.shift / w)
            ty = ty + uniform(-1, 1) * (2 * self.shift / h)
        if self.flip > 0:
            sx = torch.where(uniform(0, 1) < self.flip, -sx, sx)
        c, s = torch.ones_like(sx), torch.zeros_like(sx)
        if self.rotation > 0:
            angle = uniform(-self.rotation, self.rotation)
            c, s = angle.cos(), angle.sin()
        rows = [c * sx, -s * sy * (h / w), tx, s * sx * (w / h), c * sy, ty]
        return torch.stack(rows, dim=-1).reshape(-1, 2, 3)

    def colours(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        """Brightness, contrast, saturation and hue, then grey, then gain."""
        b, channels = x.shape[:2]

        def uniform(low: float, high: float) -> Tensor:
            return low + (high - low) * torch.rand(b, 1, 1, 1, dtype=x.dtype, device=x.device, generator=generator)

        y = x
        if self.brightness > 0:
            y = (y * uniform(1 - self.brightness, 1 + self.brightness)).clamp(0, 1)
        if self.contrast > 0:
            mean = (_luma(y) if channels == 3 else y).mean((-3, -2, -1), keepdim=True)
            y = (mean + (y - mean) * uniform(1 - self.contrast, 1 + self.contrast)).clamp(0, 1)
        if channels == 3 and (self.saturation > 0 or self.hue > 0):
            s, turn = uniform(1 - self.saturation, 1 + self.saturation), uniform(-self.hue, self.hue) * 2 * math.pi
            y = torch.einsum("bij,bjhw->bihw", colour_matrix(s.flatten(), turn.flatten()), y).clamp(0, 1)
        if y is not x and self.colour_prob < 1:
            y = torch.where(uniform(0, 1) < self.colour_prob, y, x)
        if channels == 3 and self.grey > 0:
            y = torch.where(uniform(0, 1) < self.grey, _luma(y).expand_as(y), y)
        if self.gain is not None:
            y = y * uniform(*self.gain)
        return y

    def __call__(self, x: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Augmented images, `[B, C, H, W] -> [B, C, H, W]`, in [0, 1]."""
        if x.ndim != 4:
            raise ValueError(f"expected images [B, C, H, W]; got shape {tuple(x.shape)}")
        geometry = self.crop < 1 or self.flip > 0 or max(self.shift, self.zoom, self.rotation) > 0
        y = affine_sample(x, self.matrix(x, generator), padding=self.padding) if geometry else x
        y = self.colours(y, generator)
        if self.erase > 0:
            y = y * (1 - self._square(y, generator))
        if self.noise > 0:
            y = y + self.noise * torch.randn(y.shape, dtype=y.dtype, device=y.device, generator=generator)
        return y.clamp(0, 1)

    def _square(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        b, _, h, w = x.shape
        u = torch.rand(3, b, 1, 1, 1, device=x.device, generator=generator)
        top, left = (u[0] * (h - self.erase_size + 1)).floor(), (u[1] * (w - self.erase_size + 1)).floor()
        rows = torch.arange(h, device=x.device).reshape(1, 1, h, 1) - top
        columns = torch.arange(w, device=x.device).reshape(1, 1, 1, w) - left
        inside = (rows >= 0) & (rows < self.erase_size) & (columns >= 0) & (columns < self.erase_size)
        return (inside & (u[2] < self.erase)).to(x.dtype)


def _luma(x: Tensor) -> Tensor:
    r, g, b = x.unbind(-3)
    return (LUMA[0] * r + LUMA[1] * g + LUMA[2] * b).unsqueeze(-3)


SIMCLR = Augment(
    crop=0.08, flip=0.5, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, colour_prob=0.8, grey=0.2, padding="reflection"
)  # colour images of 32 x 32 (Chen et al., 2020), without blur
FASHION_VIEWS = Augment(crop=0.3, flip=0.5, brightness=0.4, contrast=0.4, colour_prob=0.8, erase=0.3, erase_size=8)
FASHION_CHAINS = Augment(crop=0.6, flip=0.5, brightness=0.2, contrast=0.2)
DIGITS_VIEWS = Augment(shift=1.2, zoom=0.2, rotation=0.25, gain=(0.6, 1.2), erase=0.5, erase_size=3, noise=0.08)
DIGITS_CHAINS = Augment(shift=0.7, zoom=0.1, rotation=0.1)
SPRITE_VIEWS = Augment(shift=0.7, zoom=0.1, rotation=0.1, gain=(0.8, 1.1), noise=0.08, padding="border")
SPRITE_CHAINS = Augment(noise=0.15)
AUGMENTS = {
    "simclr": SIMCLR,
    "fashion-views": FASHION_VIEWS,
    "fashion-chains": FASHION_CHAINS,
    "digits-views": DIGITS_VIEWS,
    "digits-chains": DIGITS_CHAINS,
    "sprite-views": SPRITE_VIEWS,
    "sprite-chains": SPRITE_CHAINS,
    "none": Augment(),
}
