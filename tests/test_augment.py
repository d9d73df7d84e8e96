"""Augmentation: identities, ranges, moments, agreement with kornia."""

import math

import pytest
import torch

from ebmlearn.datasets.augment import (
    AUGMENTS,
    LUMA,
    SIMCLR,
    Augment,
    affine_sample,
    colour_matrix,
    dequantise_bytes,
    random_affine,
)


@pytest.mark.parametrize("name", sorted(AUGMENTS))
@pytest.mark.parametrize("channels", [1, 3])
def test_every_preset_keeps_shape_and_range_and_repeats_with_its_seed(name, channels):
    x = torch.rand(6, channels, 16, 16)
    a = AUGMENTS[name](x, generator=torch.Generator().manual_seed(1))
    b = AUGMENTS[name](x, generator=torch.Generator().manual_seed(1))
    assert a.shape == x.shape and 0 <= a.min() and a.max() <= 1
    assert torch.equal(a, b)
    assert name == "none" or not torch.equal(a, AUGMENTS[name](x, generator=torch.Generator().manual_seed(2)))


def test_nothing_asked_nothing_done():
    x = torch.rand(3, 3, 8, 8)
    assert torch.equal(Augment()(x), x)


def test_certain_flip_is_the_mirror_image():
    x = torch.rand(5, 2, 9, 7)
    assert torch.allclose(Augment(flip=1.0)(x), x.flip(-1), atol=1e-5)


def test_flip_happens_with_its_probability(generator):
    x = torch.zeros(4000, 1, 1, 2)
    x[..., 0] = 1
    share = Augment(flip=0.3)(x, generator=generator)[:, 0, 0, 1].mean().item()
    assert abs(share - 0.3) < 5 * math.sqrt(0.3 * 0.7 / 4000)


@pytest.mark.parametrize("angle", [0.3, math.pi / 2])
def test_rotation_on_a_rectangle_keeps_distances(angle):
    """A dot at (dx, dy) pixels from the centre moves on a circle, also when height and width differ."""
    h, w = 21, 31
    x = torch.zeros(1, 1, h, w)
    x[0, 0, 10, 15 + 6] = 1.0
    c, s = math.cos(angle), math.sin(angle)
    matrix = torch.tensor([[[c, -s * h / w, 0.0], [s * w / h, c, 0.0]]])
    y = affine_sample(x, matrix)[0, 0]
    rows, columns = torch.meshgrid(torch.arange(h) - 10.0, torch.arange(w) - 15.0, indexing="ij")
    mass = y.sum()
    found = torch.stack([(columns * y).sum(), (rows * y).sum()]) / mass
    assert torch.allclose(found, torch.tensor([6 * c, -6 * s]), atol=0.2)


def test_crop_area_and_position(generator):
    """The map's determinant is the crop's share of the area, uniform on [0.25, 1] where the aspect ratio does not clip it."""
    m = Augment(crop=0.25, ratio=1.0).matrix(torch.zeros(4000, 1, 8, 8), generator)
    area = m[:, 0, 0] * m[:, 1, 1]
    assert 0.25 <= area.min() and area.max() <= 1
    assert abs(area.mean().item() - 0.625) < 5 * (0.75 / math.sqrt(12)) / math.sqrt(4000)
    edge = m[:, :, 2].abs() + torch.stack([m[:, 0, 0], m[:, 1, 1]], -1)
    assert edge.max() <= 1 + 1e-6  # the crop lies inside the image


def test_hue_turns_and_saturation_scales_at_constant_luma():
    x = torch.rand(3, 50)
    luma = torch.tensor(LUMA)
    s, turn = torch.tensor([1.0, 0.0, 2.0]), torch.tensor([0.0, 0.0, 1.0])
    m = colour_matrix(s, turn)
    assert torch.allclose(m[0] @ x, x, atol=1e-5)
    assert torch.allclose(m[1] @ x, (luma @ x).expand(3, 50), atol=2e-3)  # YIQ's rows are rounded to three digits
    assert torch.allclose(luma @ (m[2] @ x), luma @ x, atol=2e-3)
    there_and_back = colour_matrix(torch.ones(1), torch.tensor([0.7]))[0] @ colour_matrix(torch.ones(1), torch.tensor([-0.7]))[0]
    assert torch.allclose(there_and_back, torch.eye(3), atol=1e-5)


def test_grey_has_equal_channels():
    y = Augment(grey=1.0)(torch.rand(3, 3, 5, 5))
    assert torch.equal(y[:, 0], y[:, 1]) and torch.equal(y[:, 1], y[:, 2])


def test_erased_square_has_its_size(generator):
    y = Augment(erase=1.0, erase_size=3)(torch.ones(50, 1, 8, 8), generator=generator)
    assert torch.equal((y == 0).sum((1, 2, 3)), torch.full((50,), 9))
    z = Augment(erase=0.0)(torch.ones(5, 1, 8, 8), generator=generator)
    assert z.min() == 1


def test_brightness_and_contrast_against_kornia(generator):
    kornia = pytest.importorskip("kornia.enhance")
    x = torch.rand(1, 3, 8, 8, generator=generator)
    ours = Augment(brightness=0.4)(x, generator=torch.Generator().manual_seed(5))
    u = torch.rand(1, 1, 1, 1, generator=torch.Generator().manual_seed(5))
    factor = float(0.6 + 0.8 * u)
    assert torch.allclose(ours, (x * factor).clamp(0, 1), atol=1e-6)
    # kornia's contrast "with mean subtraction" is around the mean of the grey image, as ours
    ours = Augment(contrast=0.4)(x, generator=torch.Generator().manual_seed(5))
    assert torch.allclose(ours, kornia.adjust_contrast_with_mean_subtraction(x, factor), atol=1e-3)


def test_random_affine_moves_by_a_fraction_of_the_width(generator):
    x = torch.zeros(500, 1, 9, 9)
    x[:, :, 4, 4] = 1
    y = random_affine(x, shift=0.2, generator=generator)
    columns = torch.arange(9.0) - 4
    where = (y[:, 0].sum(1) * columns).sum(-1)
    assert where.abs().max() <= 0.2 * 9 + 1e-4
    expected = 0.2 * 9 / math.sqrt(3)  # standard deviation of a uniform shift of up to 1.8 pixels
    assert abs(where.std().item() - expected) < 5 * expected / math.sqrt(2 * 500)


def test_bytes_become_numbers_inside_their_cell(generator):
    k = torch.randint(0, 256, (2000,), generator=generator).to(torch.uint8)
    x = dequantise_bytes(k, generator=generator)
    assert torch.equal((x * 256).floor().to(torch.uint8), k) and x.max() < 1


def test_errors():
    with pytest.raises(ValueError, match="0 < crop"):
        Augment(crop=0.0)
    with pytest.raises(ValueError, match="padding"):
        Augment(padding="wrap")
    with pytest.raises(ValueError, match=r"\[B, C, H, W\]"):
        SIMCLR(torch.rand(3, 8, 8))
