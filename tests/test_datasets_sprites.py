"""Sprites: templates, the exact reader, and that the reader is not fooled."""

import pytest
import torch

from ebmlearn.datasets.augment import dequantise_bytes
from ebmlearn.datasets.sprites import BACKGROUND, COLOURS, FOREGROUND, JITTER, SHAPES, masks, read, sprites, templates


def test_templates_are_distinct_and_inside_the_frame():
    t = templates().reshape(48, -1)
    assert len(torch.unique(t, dim=0)) == 48
    assert set(t.unique().tolist()) == {float(BACKGROUND), float(FOREGROUND)}
    assert masks().shape == (len(SHAPES), 5, 5) and len(COLOURS) == 3


def test_the_reader_is_right_on_every_sprite(generator):
    x, shape, colour = sprites(2000, generator=generator)
    r = read(dequantise_bytes(x, generator=generator))
    assert torch.equal(r.shape, shape) and torch.equal(r.colour, colour)
    assert r.correlation.min() > 0.9
    assert len(torch.unique(12 * shape + colour)) == 12
    t = templates().reshape(48, -1)
    assert torch.cdist(x.float().flatten(1), t, p=float("inf")).amin(-1).max() <= JITTER


@pytest.mark.parametrize("scale", [0.3, 1.0])
def test_the_reader_ignores_brightness_and_contrast(scale, generator):
    x, shape, colour = sprites(100, generator=generator)
    r = read(0.2 + scale * x.float() / 255)
    assert torch.equal(r.shape, shape) and torch.equal(r.colour, colour)


def test_noise_and_mixtures_are_not_sprites(generator):
    assert read(torch.rand(1000, 3, 6, 6, generator=generator)).correlation.max() < 0.8
    x, shape, _ = sprites(400, generator=generator)
    a, b = x[shape == 0].float(), x[shape == 2].float()
    n = min(len(a), len(b))
    assert read(0.5 * (a[:n] + b[:n])).correlation.median() < 0.8
