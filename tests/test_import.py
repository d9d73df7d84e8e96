"""Importing ebmlearn is cheap and changes nothing."""

import subprocess
import sys

STATE = """
import random, torch, numpy, warnings, os, matplotlib
def state():
    return (torch.get_rng_state().sum().item(), torch.get_default_dtype(), torch.get_num_threads(), torch.is_grad_enabled(),
            torch.get_float32_matmul_precision(), random.getstate()[1][:5], tuple(numpy.random.get_state()[1][:5].tolist()),
            len(warnings.filters), dict(os.environ), dict(matplotlib.rcParams))
matplotlib.use("Agg")
before = state()
import ebmlearn, ebmlearn.samplers, ebmlearn.energies, ebmlearn.viz, ebmlearn.datasets, ebmlearn.metrics.chains, ebmlearn.checks
import sys
heavy = [m for m in ("lightning_fabric", "sklearn.datasets", "ipywidgets", "pooch", "tyro", "IPython") if m in sys.modules]
after = state()
differ = [i for i, (a, b) in enumerate(zip(before, after)) if a != b]
print("differ", differ)
import subprocess
"""

LIGHT = """
import torch, sys
before = set(sys.modules)
import ebmlearn
new = {m.split(".")[0] for m in set(sys.modules) - before}
print(sorted(new & {"lightning_fabric", "sklearn", "matplotlib", "seaborn", "ipywidgets", "pooch", "tyro", "IPython", "scipy", "networkx", "anywidget"}))
"""


def out(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_importing_changes_no_global_state():
    assert out(STATE) == "differ []"


def test_importing_the_package_brings_in_nothing_heavy_beside_torch():
    assert out(LIGHT) == "[]"


TRAINING = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"matplotlib", "seaborn", "ipywidgets", "anywidget", "tyro", "pooch", "jupyterlab", "IPython", "sklearn", "scipy", "networkx"}:
            raise ImportError(f"{name} is not on this machine")
sys.meta_path.insert(0, Block())
import pkgutil, importlib, ebmlearn.training
for m in pkgutil.iter_modules(ebmlearn.training.__path__):
    importlib.import_module("ebmlearn.training." + m.name)
print("ok")
"""


def test_the_training_path_needs_torch_numpy_and_fabric_only():
    assert out(TRAINING) == "ok"
