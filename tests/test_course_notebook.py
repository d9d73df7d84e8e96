"""`show` prints a number the same way everywhere; `setup` seeds."""

import matplotlib as mpl
import matplotlib.colors
import numpy as np
import pytest
import torch

from ebmlearn.course import setup, show


@pytest.mark.parametrize(
    "value, text",
    [
        (1.23456, "1.235"),
        (-1e-9, "-1.000e-09"),
        (0.0, "0.000"),
        (-0.0, "0.000"),
        (3, "3"),
        (True, "True"),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        (12345678.9, "1.235e+07"),
        (torch.tensor(2.5), "2.500"),
        (torch.tensor([1, 2]), "[1, 2]"),
        (torch.ones(1, 2, requires_grad=True), "[[1.000, 1.000]]"),
        (np.float32(0.1), "0.100"),
        (np.array([0.5, 0.25]), "[0.500, 0.250]"),
        ([torch.tensor(1.0), 2], "[1.000, 2]"),
        ("word", "word"),
    ],
)
def test_show(value, text, capsys):
    show("name", value)
    assert capsys.readouterr().out == f"name = {text}\n"


def test_setup_seeds_and_styles():
    threads = torch.get_num_threads()
    with mpl.rc_context():
        try:
            setup(seed=3)
            first = torch.randn(3)
            setup(seed=3)
            assert torch.equal(first, torch.randn(3))
            assert torch.get_num_threads() <= 2
            assert mpl.colors.to_hex(mpl.rcParams["axes.prop_cycle"].by_key()["color"][0]) == "#0173b2"
        finally:
            torch.set_num_threads(threads)
