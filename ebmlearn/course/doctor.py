"""`ebmlearn doctor`: is my set-up right? Versions, device, widgets, data, fonts; every finding with what to do about it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "note", "missing"]

# what the lessons import -> lowest version
NEEDED = {
    "torch": "2.6",
    "numpy": "2.0",
    "scipy": "1.13",
    "scikit-learn": "1.5",
    "matplotlib": "3.9",
    "seaborn": "0.13",
    "ipywidgets": "8.1",
    "anywidget": "0.9.13",
    "jupyterlab": "4.3",
    "networkx": "3.3",
    "safetensors": "0.5",
    "tyro": "1.0",
}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Args:
        what: its name.
        status: "ok"; "note" for what only some lessons or speeds need; "missing" for what all need.
        says: what was found.
        cure: what to do, empty when all is well.
    """

    what: str
    status: Status
    says: str
    cure: str = ""


def _version(text: str) -> tuple[int, ...]:
    parts = []
    for part in text.split("+")[0].split("."):
        digits = "".join(c for c in part if c.isdigit())
        if not digits:
            break
        parts.append(int(digits))
    return tuple(parts)


def _installed(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def look_at_python() -> Finding:
    """Python 3.11 or newer."""
    right = sys.version_info >= (3, 11)
    return Finding(
        "Python", "ok" if right else "missing", platform.python_version(), "" if right else "install Python 3.11 or newer"
    )


def look_at_packages() -> list[Finding]:
    """Every package the lessons import, and that it is new enough."""
    found = []
    for package, lowest in NEEDED.items():
        version = _installed(package)
        if version is None:
            found.append(Finding(package, "missing", "not installed", f'pip install "{package}>={lowest}"'))
        elif _version(version) < _version(lowest):
            found.append(Finding(package, "missing", f"{version}, too old", f'pip install "{package}>={lowest}"'))
        else:
            found.append(Finding(package, "ok", version))
    if _installed("lightning-fabric") is None and _installed("lightning") is None:
        found.append(Finding("Fabric", "missing", "not installed", 'pip install "lightning-fabric>=2.6.6"'))
    else:
        found.append(Finding("Fabric", "ok", _installed("lightning-fabric") or str(_installed("lightning"))))
    return found


def look_at_device() -> Finding:
    """Where tensors live, and whether a gradient can be taken there."""
    import torch

    x = torch.ones(3, requires_grad=True)
    (g,) = torch.autograd.grad((x**2).sum(), x)
    if g.tolist() != [2.0, 2.0, 2.0]:
        return Finding("gradients", "missing", f"d/dx x² at 1 is {g.tolist()}", "reinstall torch")
    cpu = f"CPU, {torch.get_num_threads()} threads"
    if torch.cuda.is_available():
        return Finding("device", "ok", f"{torch.cuda.get_device_name()} and {cpu}")
    return Finding("device", "ok", f"{cpu}; no GPU, and no lesson needs one")


def look_at_widgets() -> Finding:
    """Whether a widget can be made here; whether it moves is seen in JupyterLab."""
    missing = [p for p in ("ipywidgets", "anywidget", "ipykernel") if importlib.util.find_spec(p) is None]
    if missing:
        return Finding("widgets", "missing", f"{', '.join(missing)} not installed", f"pip install {' '.join(missing)}")
    import ipywidgets

    slider = ipywidgets.FloatSlider(value=0.5, min=0.0, max=1.0)
    slider.value = 0.75
    right = slider.value == 0.75
    slider.close()
    if not right:
        return Finding("widgets", "missing", "a slider does not keep its value", "reinstall ipywidgets")
    return Finding(
        "widgets",
        "ok",
        f"ipywidgets {_installed('ipywidgets')}, anywidget {_installed('anywidget')}; they move in JupyterLab, not on GitHub",
    )


def look_at_data() -> list[Finding]:
    """The embedded digits, and the image sets that are here."""
    from ..datasets import digits, registry
    from ..datasets.files import DataError, root

    found = []
    x, _ = digits("test")
    found.append(
        Finding("digits", "ok" if tuple(x.shape) == (500, 1, 8, 8) else "missing", f"{len(x)} test images, embedded", "")
    )
    names = [n for n, e in registry.REGISTRY.items() if e.kind == "download"]
    try:
        here = [n for n in names if registry.available(n)]
    except DataError as error:
        return [*found, Finding("image sets", "note", str(error), "put the official files there")]
    says = f"{', '.join(here) or 'none'} of {', '.join(names)} in {root()}"
    cure = (
        ""
        if here
        else "only training on these sets needs them; `ebmlearn data mnist` fetches one, or set EBMLEARN_DATA to a folder with the official files"
    )
    return [*found, Finding("image sets", "ok" if here else "note", says, cure)]


def look_at_weights() -> Finding:
    """The shipped weights: every hash is verified, the digits classifier is loaded."""
    from ..pretrained import load_pretrained, pretrained_names, verify

    try:
        names = pretrained_names()
        for name in names:
            verify(name)
        load_pretrained("digits-classifier")
    except (ValueError, OSError) as error:
        return Finding("weights", "missing", str(error), "reinstall ebmlearn")
    return Finding("weights", "ok", f"{', '.join(names)}: hashes verified")


def look_at_lessons() -> Finding:
    """The notebooks, in the wheel or in the checkout."""
    from ..resources import resource

    try:
        found = sorted(resource("lessons").glob("[0-9][0-9]_*.ipynb"))
    except FileNotFoundError as error:
        return Finding("lessons", "missing", str(error), "reinstall ebmlearn")
    if not found:
        return Finding("lessons", "missing", "no notebook", "make build-lessons, or reinstall ebmlearn")
    return Finding("lessons", "ok", f"{len(found)}, first {found[0].name}; `ebmlearn lessons` opens them")


def look_at_fonts() -> Finding:
    """Whether figures can draw the letters of the formulas."""
    import matplotlib.font_manager as fm
    from matplotlib.ft2font import FT2Font

    font = fm.findfont("DejaVu Sans")
    absent = [c for c in "∇βηλτ²∝" if FT2Font(font).get_char_index(ord(c)) == 0]
    if absent:
        return Finding("fonts", "note", f"{font} lacks {' '.join(absent)}", "reinstall matplotlib, which brings DejaVu Sans")
    return Finding("fonts", "ok", "DejaVu Sans, with the letters of the formulas")


def look_at_compiler() -> Finding:
    """A C++ compiler, which only torch.compile needs."""
    import shutil

    name = next((c for c in (os.environ.get("CXX", ""), "g++", "clang++", "c++") if c and shutil.which(c)), None)
    if name is None:
        return Finding(
            "C++ compiler", "note", "none found", "only `compile=True` needs one; without it samplers run as ordinary PyTorch"
        )
    return Finding("C++ compiler", "ok", f"{name}, for compile=True")


LOOKS: tuple[Callable[[], Finding | list[Finding]], ...] = (
    look_at_python,
    look_at_packages,
    look_at_device,
    look_at_widgets,
    look_at_data,
    look_at_weights,
    look_at_lessons,
    look_at_fonts,
    look_at_compiler,
)


def examine() -> list[Finding]:
    """Every finding; a look that fails is itself a finding, so one broken part does not hide the others."""
    findings: list[Finding] = []
    for look in LOOKS:
        try:
            found = look()
        except Exception as error:
            name = look.__name__.removeprefix("look_at_")
            found = Finding(name, "missing", f"{type(error).__name__}: {error}", "reinstall ebmlearn and what it needs")
        findings.extend(found if isinstance(found, list) else [found])
    return findings


def doctor() -> bool:
    """Print every finding; True when nothing that all lessons need is missing."""
    findings = examine()
    for f in findings:
        print(f"{f.status:8s}{f.what:14s}{f.says}" + (f"\n{'':22s}-> {f.cure}" if f.cure else ""))
    missing = [f.what for f in findings if f.status == "missing"]
    print(f"\n{'All is well.' if not missing else 'Missing: ' + ', '.join(missing) + '.'}")
    return not missing
