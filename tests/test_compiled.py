"""Compiled energies agree with eager ones, are kept once for each energy, and fall back with one warning."""

import gc
import importlib
import os
import shutil
import subprocess
import sys
import textwrap
import weakref

import pytest
import torch

from ebmlearn.energies import Gaussian, MLPEnergy
from ebmlearn.functional import value_and_grad
from ebmlearn.samplers import MALA, Langevin, compiled, sample

module = importlib.import_module("ebmlearn.samplers.compiled")  # the package's attribute of that name is the function


@pytest.fixture
def compilations(monkeypatch):
    """torch.compile replaced by the identity, counted: what is tested here is everything around it."""
    seen = []
    monkeypatch.setattr(torch, "compile", lambda f, **options: seen.append(f) or f)
    return seen


def test_one_function_for_each_energy_for_as_long_as_it_lives(compilations):
    energy, other = MLPEnergy(2, hidden_features=(4,)), MLPEnergy(2, hidden_features=(4,))
    x = torch.randn(3, 2)
    before = len(module._functions)
    for _ in range(3):
        for e in (energy, other):
            c = compiled(e)
            value_and_grad(c, x)
            value_and_grad(c, x)
    assert len(compilations) == 2 and len(module._functions) == before + 2
    assert compilations[0].__code__ is not compilations[1].__code__  # or they would share one recompilation limit
    dead = weakref.ref(energy)
    del energy, e, c
    gc.collect()
    assert dead() is None and len(module._functions) == before + 1


def test_outputs_are_detached_and_parameters_are_constants_that_may_change(compilations):
    energy, x = MLPEnergy(2, hidden_features=(4,), confinement=1.0), torch.randn(5, 2, requires_grad=True)
    c = compiled(energy)
    for _ in range(3):
        e, g = value_and_grad(c, x)
        plain_e, plain_g = value_and_grad(energy, x)
        assert not e.requires_grad and not g.requires_grad
        assert torch.allclose(e, plain_e, rtol=1e-6) and torch.allclose(g, plain_g, rtol=1e-5, atol=1e-7)
        assert all(p.requires_grad and p.grad is None for p in energy.parameters())
        with torch.no_grad():
            for p in energy.parameters():
                p.add_(0.1)
    assert c(x).requires_grad and c.event_ndim == 1  # called as an energy it is the energy


def test_the_first_call_checks_the_energy(compilations):
    x = torch.ones(3, 2)
    for bad, match in ((lambda x: (x**2).sum(), "one number"), (lambda x: x.detach().sum(-1), "not differentiable")):
        with pytest.raises(ValueError, match=match):
            sample(bad, Langevin(step_size=0.1), x, 3, compile=True)
    assert not compilations


def test_a_closed_form_gradient_is_not_compiled(compilations):
    g = Gaussian([0.0, 0.0])
    assert compiled(g) is g
    sample(g, MALA(step_size=0.1), torch.zeros(3, 2), 3, compile=True)
    assert not compilations


def test_what_cannot_be_kept_is_still_compiled(compilations):
    class Unhashable:
        __hash__ = None

        def __call__(self, x):
            return (x**2).sum(-1)

    c = compiled(Unhashable())
    value_and_grad(c, torch.ones(3, 2))
    assert torch.equal(value_and_grad(c, torch.ones(3, 2))[1], torch.full((3, 2), 2.0))


def test_failure_warns_once_and_goes_on(monkeypatch):
    def broken(f, **options):
        raise RuntimeError("no compiler found\nand much more")

    monkeypatch.setattr(torch, "compile", broken)
    monkeypatch.setattr(module, "_usable", True)
    energy = MLPEnergy(2, hidden_features=(4,))
    x, g = torch.randn(3, 2), torch.Generator()
    plain = sample(energy, MALA(step_size=0.1), x, 5, generator=g.manual_seed(0))
    with pytest.warns(RuntimeWarning, match=r"torch.compile is not available here \(RuntimeError: no compiler found\)") as caught:
        once = sample(energy, MALA(step_size=0.1), x, 5, generator=g.manual_seed(0), compile=True)
    assert len(caught) == 1 and torch.equal(once, plain)
    again = sample(
        energy, MALA(step_size=0.1), x, 5, generator=g.manual_seed(0), compile=True
    )  # a second warning is an error here
    assert torch.equal(again, plain)
    assert module._usable is False


SCRIPT = textwrap.dedent(
    """
    import importlib
    import warnings
    import torch
    from ebmlearn.energies import MLPEnergy
    from ebmlearn.samplers import MALA, sample

    module = importlib.import_module("ebmlearn.samplers.compiled")

    torch.manual_seed(0)
    energy = MLPEnergy(2, hidden_features=(16,), confinement=1.0)
    x, g = torch.randn(7, 2), torch.Generator()
    plain = sample(energy, MALA(step_size=0.1), x, 4, generator=g.manual_seed(0))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            fast = sample(energy, MALA(step_size=0.1), x, 4, generator=g.manual_seed(0), compile=True)
    ours = [str(w.message) for w in caught if "torch.compile is not available" in str(w.message)]
    print("warnings", len(ours), "usable", module._usable, "difference", float((plain - fast).abs().max()))
    """
)


def run_script(tmp_path, **environment):
    return subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={
            **os.environ,
            "TORCHINDUCTOR_CACHE_DIR": str(tmp_path),
            "TORCHINDUCTOR_COMPILE_THREADS": "1",
            "OMP_NUM_THREADS": "1",
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_without_a_compiler_there_is_one_warning_and_the_same_chain(tmp_path):
    done = run_script(tmp_path, CXX=str(tmp_path / "no-such-compiler"))
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "warnings 1 usable False difference 0.0"


@pytest.mark.skipif(
    shutil.which(os.environ.get("CXX", "g++")) is None, reason="no C++ compiler; the fallback is tested beside this"
)
def test_with_a_compiler_the_chain_is_the_same_to_rounding(tmp_path):
    done = run_script(tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    words = done.stdout.split()
    if words[3] == "False":
        pytest.skip("torch.compile failed here, e.g. without Python's headers")
    assert words[:4] == ["warnings", "0", "usable", "True"] and float(words[5]) < 1e-4
