"""Losses of representation learning (NT-Xent, BYOL, masked autoencoding), CLEL's guidance, and the small learners built on them.

A learner wraps an encoder h; `learner(view1, view2, labels, negatives)` returns its loss and h(view1), detached, and
`learner.embed(x)` is h(x). CLEL takes its latent z = h(t(x)) / ||h(t(x))|| from any of them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .networks import MLP

Gather = Callable[[Tensor], Tensor]


def nt_xent(p1: Tensor, p2: Tensor, *, temperature: float = 0.2, negatives: Tensor | None = None) -> Tensor:
    """The normalised temperature-scaled cross entropy: for each of 2B views, find its partner among all others.

    Mean over the 2B views of -log softmax(cos/temperature) at the partner; the view itself is left out. `negatives` are
    appended to every row of logits; no gradient reaches them.

    Args:
        p1, p2: projections of two views of the same B images, `[B, d]`, not normalised.
        temperature: tau > 0.
        negatives: `[M, d]`; in CLEL g(f(x-)) of the sampler's images.

    References:
        A simple framework for contrastive learning of visual representations (Chen et al., 2020), equation 1.
        Guiding energy-based models via contrastive latent variables (Lee et al., 2023): extra negatives.

    Example:
        >>> same = torch.ones(64, 8)
        >>> round(nt_xent(same, same, negatives=same).item(), 3)  # log(3 * 64 - 1)
        5.252
    """
    if p1.shape != p2.shape or p1.ndim != 2:
        raise ValueError(f"expected two tensors [B, d] of one shape; got {tuple(p1.shape)} and {tuple(p2.shape)}")
    if temperature <= 0:
        raise ValueError(f"expected temperature > 0; got {temperature}")
    b = len(p1)
    p = F.normalize(torch.cat([p1, p2]), dim=-1)
    logits = p @ p.mT / temperature
    logits = logits.masked_fill(torch.eye(2 * b, dtype=torch.bool, device=p.device), float("-inf"))
    if negatives is not None:
        k = F.normalize(negatives.detach().to(p.dtype), dim=-1)
        logits = torch.cat([logits, p @ k.mT / temperature], dim=-1)
    partner = torch.arange(2 * b, device=p.device).roll(b)
    return F.cross_entropy(logits, partner)


def clel_guidance(u: Tensor, z: Tensor) -> Tensor:
    """-mean cos(u, z): the part of E(x, z) that ties the energy's direction u = g(f(x)) to the latent; no gradient reaches z.

    Example:
        >>> clel_guidance(torch.tensor([[2.0, 0.0]]), torch.tensor([[5.0, 0.0]])).item()
        -1.0
    """
    if u.shape != z.shape:
        raise ValueError(f"expected u and z of one shape [B, d]; got {tuple(u.shape)} and {tuple(z.shape)}")
    return -F.cosine_similarity(u, z.detach(), dim=-1).mean()


def byol_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """2 - 2 cos(prediction, target), averaged; no gradient reaches the target.

    References:
        Bootstrap your own latent: a new approach to self-supervised learning (Grill et al., 2020), equation 2.

    Example:
        >>> byol_loss(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 3.0]])).item()
        2.0
    """
    return (2 - 2 * F.cosine_similarity(prediction, target.detach(), dim=-1)).mean()


def masked_mse(reconstruction: Tensor, x: Tensor, mask: Tensor) -> Tensor:
    """Mean squared error over the hidden pixels only: sum(mask (r - x)²) / sum(mask); `mask` is 1 where x was hidden.

    References:
        Masked autoencoders are scalable vision learners (He et al., 2022).

    Example:
        >>> masked_mse(torch.tensor([[1.0, 9.0]]), torch.zeros(1, 2), torch.tensor([[1.0, 0.0]])).item()
        1.0
    """
    return (mask * (reconstruction - x).square()).sum() / mask.sum().clamp(min=1)


def patch_mask(x: Tensor, *, patch: int, ratio: float, generator: torch.Generator | None = None) -> Tensor:
    """Ones on a random `ratio` of the patch x patch squares of each image, `[B, 1, H, W]`; exactly the same number in each."""
    b, _, h, w = x.shape
    rows, columns = -(-h // patch), -(-w // patch)
    n = rows * columns
    hidden = max(1, round(ratio * n))
    order = torch.rand(b, n, device=x.device, generator=generator).argsort(-1).argsort(-1)
    grid = (order < hidden).to(x.dtype).reshape(b, 1, rows, columns)
    return grid.repeat_interleave(patch, -2).repeat_interleave(patch, -1)[..., :h, :w]


def identity(x: Tensor) -> Tensor:
    """x: what one process gathers."""
    return x


class Learner(nn.Module):
    """Base of the learners: an encoder and a loss.

    Args:
        encoder: h, `[B, C, H, W] -> [B, d]`.
        gather: joins the rows of all processes, with gradients; the identity for one process. Losses that compare
            images with each other need it to equal those of one process with the global batch.
    """

    def __init__(self, encoder: nn.Module, *, gather: Gather = identity) -> None:
        super().__init__()
        self.encoder = encoder
        self.gather = gather
        self.generator: torch.Generator | None = None  # of the learner's own randomness; the recipe sets it

    def embed(self, x: Tensor) -> Tensor:
        """h(x), `[B, d]`, not normalised."""
        return self.encoder(x)

    def after_step(self) -> None:
        """What follows an optimiser step; nothing, for most."""


class SimCLR(Learner):
    """NT-Xent between two views, with CLEL's extra negatives."""

    def __init__(self, encoder: nn.Module, *, temperature: float = 0.2, gather: Gather = identity) -> None:
        super().__init__(encoder, gather=gather)
        self.temperature = temperature

    def forward(self, view1: Tensor, view2: Tensor, labels: Tensor | None, negatives: Tensor | None) -> tuple[Tensor, Tensor]:
        p1, p2 = self.encoder(torch.cat([view1, view2])).float().chunk(2)
        extra = None if negatives is None else self.gather(negatives)
        loss = nt_xent(self.gather(p1), self.gather(p2), temperature=self.temperature, negatives=extra)
        return loss, p1.detach()


class BYOL(Learner):
    """Predict, from one view, what a slow copy of the encoder says of the other; no negatives.

    Nothing in the loss forbids a constant encoder; what keeps it away is batch normalisation, here in the predictor and,
    by the caller's choice, in the encoder's head.

    References:
        Bootstrap your own latent: a new approach to self-supervised learning (Grill et al., 2020).
    """

    def __init__(self, encoder: nn.Module, *, out_features: int, hidden_features: int = 128, decay: float = 0.99) -> None:
        super().__init__(encoder)
        hidden = nn.Linear(out_features, hidden_features)
        self.predictor = nn.Sequential(
            hidden, nn.BatchNorm1d(hidden_features), nn.SiLU(), nn.Linear(hidden_features, out_features)
        )
        self.target = copy.deepcopy(encoder).requires_grad_(False)
        self.decay = decay

    def forward(self, view1: Tensor, view2: Tensor, labels: Tensor | None, negatives: Tensor | None) -> tuple[Tensor, Tensor]:
        p1, p2 = self.encoder(torch.cat([view1, view2])).float().chunk(2)
        with torch.no_grad():
            t1, t2 = self.target(torch.cat([view1, view2])).float().chunk(2)
        return 0.5 * (byol_loss(self.predictor(p1), t2) + byol_loss(self.predictor(p2), t1)), p1.detach()

    @torch.no_grad()
    def after_step(self) -> None:
        torch._foreach_lerp_(list(self.target.parameters()), list(self.encoder.parameters()), 1 - self.decay)


class MAE(Learner):
    """Reconstruct the hidden patches of an image from the embedding of the visible ones.

    The encoder sees the image with its hidden patches set to grey; a small MLP decodes the embedding to pixels.

    References:
        Masked autoencoders are scalable vision learners (He et al., 2022), here with a convolutional encoder.
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        image_shape: tuple[int, int, int],
        out_features: int,
        patch: int = 2,
        ratio: float = 0.5,
        hidden_features: int = 256,
    ) -> None:
        super().__init__(encoder)
        c, h, w = image_shape
        self.patch, self.ratio = patch, ratio
        self.decoder = nn.Sequential(
            MLP(out_features, c * h * w, hidden_features=(hidden_features,)), nn.Unflatten(-1, image_shape)
        )

    def forward(self, view1: Tensor, view2: Tensor, labels: Tensor | None, negatives: Tensor | None) -> tuple[Tensor, Tensor]:
        mask = patch_mask(view1, patch=self.patch, ratio=self.ratio, generator=self.generator)
        p = self.encoder(torch.where(mask > 0, 0.5, view1)).float()
        loss = masked_mse(self.decoder(p), view1, mask.expand_as(view1))
        with torch.no_grad():
            z = self.encoder(view1).float()
        return loss, z


class Supervised(Learner):
    """Cross entropy of cosines to one learned vector a class: the embedding of an encoder that is told the labels."""

    def __init__(self, encoder: nn.Module, *, out_features: int, n_classes: int, temperature: float = 0.2) -> None:
        super().__init__(encoder)
        self.classes = nn.Parameter(torch.randn(n_classes, out_features))
        self.temperature = temperature

    def forward(self, view1: Tensor, view2: Tensor, labels: Tensor | None, negatives: Tensor | None) -> tuple[Tensor, Tensor]:
        if labels is None:
            raise ValueError("the supervised encoder needs labels; choose another encoder for data without them")
        p = self.encoder(view1).float()
        logits = F.normalize(p, dim=-1) @ F.normalize(self.classes, dim=-1).mT / self.temperature
        return F.cross_entropy(logits, labels), p.detach()


class Fixed(Learner):
    """An encoder that stays as it was drawn: the control that every gain must beat."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__(encoder.requires_grad_(False))

    def forward(self, view1: Tensor, view2: Tensor, labels: Tensor | None, negatives: Tensor | None) -> tuple[Tensor, Tensor]:
        p = self.encoder(view1).float()
        return p.sum() * 0.0, p.detach()
