"""Several small energies in one file: what is written comes back, and damaged weights are refused."""

import json

import pytest
import torch
from torch import nn

from ebmlearn.energies import MLPEnergy
from ebmlearn.energies.bundle import export_energies
from ebmlearn.pretrained import WeightsError, load_pretrained


def two():
    torch.manual_seed(0)
    return {"a-1": MLPEnergy(2, hidden_features=(4, 3)), "b-2": MLPEnergy((1, 3), hidden_features=(5,), confinement=0.1)}


def test_round_trip(tmp_path):
    energies = two()
    export_energies(energies, tmp_path, card={"name": "two", "command": "none", "licence": "MIT"}, text="| a table |")
    again = load_pretrained(str(tmp_path))
    assert set(again) == set(energies)
    for name, shape in (("a-1", (7, 2)), ("b-2", (7, 1, 3))):
        x = torch.randn(shape)
        assert torch.equal(energies[name](x), again[name](x))
        assert not any(p.requires_grad for p in again[name].parameters())
    assert "| a table |" in (tmp_path / "card.md").read_text()
    assert json.loads((tmp_path / "card.json").read_text())["kind"] == "mlp-energies"


def test_a_changed_byte_is_refused(tmp_path):
    export_energies(two(), tmp_path, card={"name": "two"})
    path = tmp_path / "weights.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(WeightsError, match="SHA-256"):
        load_pretrained(str(tmp_path))


def test_another_activation_is_refused(tmp_path):
    with pytest.raises(ValueError, match="SiLU"):
        export_energies({"a": MLPEnergy(2, hidden_features=(4,), activation=nn.Tanh)}, tmp_path, card={"name": "one"})


def test_shipped_digits_energy_is_low_on_digits():
    from ebmlearn.datasets import digits

    energy = load_pretrained("lesson07-digits")
    x, _ = digits("test")
    noise = torch.rand(500, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert energy(x).mean() < 0.2 and energy(noise).min() > 0.4
