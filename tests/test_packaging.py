"""pyproject.toml, constraints.txt and environment.yml in step; the wheel carries lessons and data and works on its own."""

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONDA_NAMES = {"pytorch": "torch", "matplotlib-base": "matplotlib"}


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def pins():
    lines = [l.split("#")[0].strip() for l in (ROOT / "constraints.txt").read_text().splitlines()]
    return {canonical(l.split("==")[0]): Version(l.split("==")[1].split(";")[0].strip()) for l in lines if l}


def requirements(*extras):
    texts = list(PROJECT["dependencies"])
    for extra in extras:
        texts += PROJECT["optional-dependencies"][extra]
    return [Requirement(t) for t in texts]


def test_every_direct_dependency_is_pinned_within_its_range():
    for r in requirements("test", "browser", "images"):
        pin = pins().get(canonical(r.name))
        assert pin is not None, f"{r.name} is not pinned in constraints.txt"
        assert r.specifier.contains(pin), f"{r.name}: constraints.txt pins {pin}, pyproject.toml asks {r.specifier}"


def test_constraints_pin_every_line_and_the_small_torch():
    assert pins()["torch"] == Version("2.13.0")
    assert "torchvision" not in pins()


def test_conda_environment_asks_for_what_pyproject_asks():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    texts = []
    for d in environment["dependencies"]:
        texts += d["pip"] if isinstance(d, dict) else [d]
    conda = {}
    for t in texts:
        if t in ("pip", "-e ."):
            continue
        name, spec = re.fullmatch(r"([\w-]+)(.*)", t).groups()
        conda[canonical(CONDA_NAMES.get(name, name))] = spec
    assert conda.pop("python") == PROJECT["requires-python"]
    assert conda.pop("nbval") == "=0.11"
    wanted = {canonical(r.name): str(r.specifier) for r in requirements()}
    assert conda == wanted


def test_no_index_address_and_no_torchvision_anywhere():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout.split("\n")
    if listed == [""]:
        pytest.skip("not a git checkout")
    hosts = re.compile("pypi" + r"\.org|files\.python" + "hosted|download" + r"\.pytorch\.org|conda\.ana" + "conda")
    for name in listed:
        path = ROOT / name
        if path.suffix in {".py", ".toml", ".txt", ".yml", ".md", ".ipynb", ".cfg"} and path.exists():
            text = path.read_text(errors="replace")
            assert not hosts.search(text), f"{name} names a package index"
            if path.suffix == ".py" and path != Path(__file__):
                assert not re.search(r"^\s*(import|from) torchvision", text, re.M), f"{name} imports torchvision"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("wheel")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--quiet",
            "--no-deps",
            "--no-build-isolation",
            "--wheel-dir",
            str(out),
            str(ROOT),
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return next(out.glob("*.whl"))


def test_the_wheel_carries_lessons_and_weights_and_nothing_stray(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert any(n.endswith("_resources/lessons/00_setup_and_tour.ipynb") for n in names)
    assert any("_resources/data/checkpoints/" in n and n.endswith(".safetensors") for n in names)
    assert any(n.endswith("_resources/lessons/homework/homework_a.ipynb") for n in names)
    stray = ("__pycache__", ".ipynb_checkpoints", "lessons/source", "homework/solutions", "homework/instructor")
    assert not [n for n in names if n.startswith("tests/") or any(s in n for s in stray)]
    assert wheel.stat().st_size < 100e6


def test_the_wheel_works_away_from_the_checkout(wheel, tmp_path):
    """Installed into a fresh environment that borrows this one's third-party packages but not the checkout."""
    fresh = tmp_path / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(fresh)], check=True)
    site = next((fresh / "lib").glob("python3*")) / "site-packages"
    zipfile.ZipFile(wheel).extractall(site)
    import torch

    (site / "borrowed.pth").write_text(f"{Path(torch.__file__).parent.parent}\n")
    python = fresh / "bin" / "python"
    code = (
        "import ebmlearn, pathlib, sys; assert sys.prefix in ebmlearn.__file__, ebmlearn.__file__;"
        "from ebmlearn.pretrained import load_pretrained; load_pretrained('digits-classifier');"
        "from ebmlearn.resources import resource; assert resource('lessons/00_setup_and_tour.ipynb').exists()"
    )
    done = subprocess.run([str(python), "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    copied = subprocess.run(
        [str(python), "-m", "ebmlearn", "lessons", str(tmp_path / "course"), "--no-open"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert copied.returncode == 0, copied.stderr[-2000:]
    assert (tmp_path / "course" / "00_setup_and_tour.ipynb").exists()
    assert (tmp_path / "course" / "docs" / "glossary.md").exists()
