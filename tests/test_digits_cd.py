"""Digits by contrastive divergence at reduced size: better than one Gaussian, far better than noise, never without the floor."""

import dataclasses

import pytest

from ebmlearn.metrics.images import FLOOR
from ebmlearn.pretrained import load_pretrained
from ebmlearn.training.cd import cd_preset, run_cd
from ebmlearn.training.cd_report import BUFFER, FRESH, GAUSSIAN, UNIFORM, report_digits
from ebmlearn.training.state import RunOptions


@pytest.mark.slow
def test_digits_from_nothing_to_samples(tmp_path):
    # an average over the last 100 updates: one over 500, as in a full run, would still remember the start
    config = dataclasses.replace(cd_preset("digits"), steps=700, ema=0.99)
    state = run_cd(config, RunOptions(out=tmp_path))
    r = report_digits(state.ema.module, config, state.buffer.x, load_pretrained("digits-classifier"))
    print(r)
    assert r[FRESH].frechet <= 120 and r[BUFFER].frechet <= 120
    assert max(r[FRESH].frechet, r[BUFFER].frechet) < r[GAUSSIAN].frechet < r[UNIFORM].frechet / 3
    assert r[FLOOR].frechet < 20  # what a perfect model would score at this size
    for name in (FRESH, BUFFER):
        assert r[name].entropy >= 2.0 and r[name].confidence > r[GAUSSIAN].confidence  # all classes, and each one clear
        assert r[name].recall > 0.5
    assert (tmp_path / "samples.png").read_bytes().startswith(b"\x89PNG") and (tmp_path / "last.ckpt").exists()
