"""Losses and learners of representations: known values, stop-gradients, negatives."""

import math

import pytest
import torch
import torch.nn.functional as F

from ebmlearn.contrastive import BYOL, MAE, Fixed, SimCLR, Supervised, byol_loss, clel_guidance, masked_mse, nt_xent, patch_mask
from ebmlearn.datasets import digits
from ebmlearn.datasets.augment import DIGITS_VIEWS
from ebmlearn.networks import MLP
from ebmlearn.networks.encoder import ConvEncoder

SHAPE = (1, 8, 8)


@pytest.mark.parametrize("b", [2, 8, 64])
def test_nt_xent_of_equal_vectors_is_the_log_of_the_choices(b):
    same = torch.ones(b, 5)
    assert nt_xent(same, same).item() == pytest.approx(math.log(2 * b - 1), abs=1e-5)
    assert nt_xent(same, same, negatives=torch.ones(b, 5)).item() == pytest.approx(math.log(3 * b - 1), abs=1e-5)


def test_nt_xent_against_a_loop(generator):
    b, tau = 4, 0.3
    p1, p2 = torch.randn(2, b, 6, generator=generator, dtype=torch.float64)
    k = torch.randn(3, 6, generator=generator, dtype=torch.float64)
    p = F.normalize(torch.cat([p1, p2]), dim=-1)
    total = 0.0
    for i in range(2 * b):
        partner = (i + b) % (2 * b)
        others = [math.exp(float(p[i] @ p[j]) / tau) for j in range(2 * b) if j != i]
        others += [math.exp(float(p[i] @ F.normalize(n, dim=0)) / tau) for n in k]
        total -= math.log(math.exp(float(p[i] @ p[partner]) / tau) / sum(others))
    assert nt_xent(p1, p2, temperature=tau, negatives=k).item() == pytest.approx(total / (2 * b), rel=1e-12)


def test_nt_xent_sends_no_gradient_into_negatives():
    p = torch.randn(4, 6, requires_grad=True)
    k = torch.randn(4, 6, requires_grad=True)
    nt_xent(p, p + 1, negatives=k).backward()
    assert p.grad is not None
    assert k.grad is None


def test_guidance_sends_no_gradient_into_the_latent():
    u, z = torch.randn(4, 6, requires_grad=True), torch.randn(4, 6, requires_grad=True)
    clel_guidance(u, z).backward()
    assert u.grad is not None and float(u.grad.abs().sum()) > 0
    assert z.grad is None


def test_byol_targets_get_no_gradient_and_follow_slowly():
    torch.manual_seed(0)
    learner = BYOL(ConvEncoder(SHAPE, batch_norm=True), out_features=32, decay=0.9)
    views = torch.rand(2, 4, *SHAPE)
    loss, z = learner(views[0], views[1], None, None)
    loss.backward()
    assert all(p.grad is None for p in learner.target.parameters())
    assert all(p.grad is not None for p in learner.encoder.parameters())
    assert not z.requires_grad
    with torch.no_grad():
        for p in learner.encoder.parameters():
            p.add_(1.0)
    before = [p.clone() for p in learner.target.parameters()]
    learner.after_step()
    for b, t, p in zip(before, learner.target.parameters(), learner.encoder.parameters(), strict=True):
        assert torch.allclose(t, 0.9 * b + 0.1 * p)


def test_byol_without_normalisation_collapses_and_with_it_does_not():
    """On digits: the mean cosine between different images tends to 1 where nothing normalises."""
    x = digits("train")[0]
    found = {}
    for norm in (False, True):
        torch.manual_seed(0)
        g = torch.Generator().manual_seed(0)
        learner = BYOL(ConvEncoder(SHAPE, batch_norm=norm), out_features=32)
        if not norm:
            learner.predictor = MLP(32, 32, hidden_features=(128,))
        optimizer = torch.optim.Adam([p for p in learner.parameters() if p.requires_grad], lr=1e-3)
        for _ in range(150):
            batch = x[torch.randint(len(x), (64,), generator=g)]
            loss, _ = learner(DIGITS_VIEWS(batch, generator=g), DIGITS_VIEWS(batch, generator=g), None, None)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            learner.after_step()
        z = F.normalize(learner.eval().embed(x[:300]), dim=-1).detach()
        found[norm] = float((z @ z.mT).mean())
    assert 1 - found[False] < 0.3 * (1 - found[True]), found


def test_byol_loss_values():
    a = torch.tensor([[1.0, 0.0]])
    assert byol_loss(a, a).item() == pytest.approx(0.0, abs=1e-6)
    assert byol_loss(a, -2 * a).item() == pytest.approx(4.0, abs=1e-6)


@pytest.mark.parametrize(("side", "patch", "ratio"), [(8, 2, 0.5), (28, 4, 0.75), (7, 2, 0.25)])
def test_patch_mask_hides_whole_patches_and_as_many_as_asked(side, patch, ratio):
    mask = patch_mask(torch.rand(6, 1, side, side), patch=patch, ratio=ratio)
    assert mask.shape == (6, 1, side, side)
    full = side // patch * patch
    blocks = mask[..., :full, :full].unfold(-2, patch, patch).unfold(-2, patch, patch).flatten(-2)
    assert torch.equal(blocks.amin(-1), blocks.amax(-1))
    if full == side:
        assert torch.equal(blocks.amax(-1).flatten(1).sum(-1), torch.full((6,), round(ratio * (side // patch) ** 2)).float())


def test_mae_hides_what_it_must_predict_and_masked_mse_counts_only_that():
    learner = MAE(ConvEncoder(SHAPE), image_shape=SHAPE, out_features=32)
    seen = []
    learner.encoder.register_forward_pre_hook(lambda m, args: seen.append(args[0].clone()))
    learner.generator = torch.Generator().manual_seed(0)
    x = torch.rand(4, *SHAPE)
    loss, z = learner(x, x, None, None)
    hidden = seen[0] == 0.5
    assert hidden.float().mean() == 0.5
    assert torch.equal(seen[0][~hidden], x[~hidden])
    assert torch.equal(seen[1], x)
    assert z.shape == (4, 32) and loss > 0
    r, mask = torch.zeros_like(x), hidden.float()
    assert masked_mse(r, x, mask).item() == pytest.approx(float(x[hidden].square().mean()), rel=1e-6)


@pytest.mark.parametrize("kind", ["simclr", "byol", "mae", "supervised"])
def test_every_learner_learns(kind):
    """A hundred steps on one fixed batch lower the loss."""
    torch.manual_seed(0)
    h = ConvEncoder(SHAPE)
    learner = {
        "simclr": lambda: SimCLR(h),
        "byol": lambda: BYOL(h, out_features=32),
        "mae": lambda: MAE(h, image_shape=SHAPE, out_features=32),
        "supervised": lambda: Supervised(h, out_features=32, n_classes=4),
    }[kind]()
    x, y = torch.rand(16, *SHAPE), torch.arange(16) % 4
    optimizer = torch.optim.Adam([p for p in learner.parameters() if p.requires_grad], lr=3e-3)
    losses = []
    for _ in range(60):
        v1, v2 = ((x + 0.05 * torch.randn_like(x)).clamp(0, 1) for _ in range(2))
        loss, _ = learner(v1, v2, y, torch.randn(16, 32))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        learner.after_step()
        losses.append(loss.item())
    assert sum(losses[-10:]) < 0.8 * sum(losses[:5]) * 2


def test_the_fixed_encoder_does_not_learn():
    learner = Fixed(ConvEncoder(SHAPE))
    loss, z = learner(torch.rand(4, *SHAPE), torch.rand(4, *SHAPE), None, None)
    assert loss.item() == 0 and not loss.requires_grad and z.shape == (4, 32)


def test_errors():
    with pytest.raises(ValueError, match="one shape"):
        nt_xent(torch.ones(3, 4), torch.ones(4, 4))
    with pytest.raises(ValueError, match="temperature > 0"):
        nt_xent(torch.ones(3, 4), torch.ones(3, 4), temperature=0.0)
    with pytest.raises(ValueError, match="labels"):
        Supervised(ConvEncoder(SHAPE), out_features=32, n_classes=4)(torch.rand(2, *SHAPE), torch.rand(2, *SHAPE), None, None)
