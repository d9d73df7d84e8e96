"""The house has floors: a module imports lower floors, or modules that stand before it in its own folder."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "ebmlearn"

# Lowest first. An entry is a module or a folder; a folder's own order follows in ORDER.
FLOORS = [
    ["functional", "schedules", "networks", "resources"],
    ["energies", "objectives", "contrastive"],
    ["datasets", "samplers"],
    ["metrics", "planning"],
    ["training", "pretrained"],
    ["viz"],
    ["widgets", "checks"],
    ["course"],
    ["cli_train", "cli_runs", "cli", "__main__"],
]
# Within a folder (or a floor) a module imports only those that stand before it; what is not listed comes last, alphabetically.
ORDER = {
    "objectives": ["likelihood", "margin", "score"],
    "energies": ["base", "gaussian", "analytic", "neural", "confined", "rbm", "spherical", "bundle", "joint", "architectural"],
    "samplers": ["base", "compiled", "langevin", "hmc", "gibbs", "gibbs_langevin", "sweeps", "tempering", "buffer", "diffusion"],
    "networks": ["mlp"],
    "datasets": ["files", "toy", "digits", "images", "registry"],
    "metrics": ["chains", "divergence", "partition", "partition_rbm", "ratios", "images", "ood"],
    "training": [
        "files",
        "processes",
        "weights",
        "state",
        "ablate",
        "engine",
        "game",
        "clel_model",
        "rbm_data",
        "rbm_config",
        "rbm_report",
        "htm_model",
        "rbm",
        "rbm_ablation",
        "cd",
        "score",
        "nce",
        "clel",
        "gcd",
        "gcd_weights",
        "rbm_weights",
        "samples",
        "evaluate",
    ],
    "widgets": ["explorer", "particles"],
    "planning": ["worlds", "graphs", "trajectories"],
    "checks": ["base", "homework"],
    "course": ["lessons", "map", "progress", "processes", "wire"],
}
LAZY = {("samplers.base", "samplers.compiled"), ("training.ablate", "training.state")}


def floor_of(module: str) -> int | None:
    top = module.split(".")[0]
    for i, names in enumerate(FLOORS):
        if top in names:
            return i
    return None


def modules() -> dict[str, Path]:
    out = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        if "_resources" in path.parts:
            continue
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        out[name.removesuffix(".__init__")] = path
    return out


def imports_of(source: str, module: str, is_package: bool) -> set[str]:
    """Modules of ebmlearn that a source imports, also inside functions, as dotted names below the package."""
    found = set()
    here = module.split(".") if module and module != "__init__" else []
    package = here if is_package else here[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            if node.level:
                base = package[: len(package) - (node.level - 1)]
                name = ".".join(base + (node.module.split(".") if node.module else []))
            elif node.module and node.module.split(".")[0] == "ebmlearn":
                name = ".".join(node.module.split(".")[1:])
            else:
                continue
            found |= {f"{name}.{a.name}" if name else a.name for a in node.names}
        elif isinstance(node, ast.Import):
            found |= {".".join(a.name.split(".")[1:]) for a in node.names if a.name.split(".")[0] == "ebmlearn"}
    return found


def violations(module: str, source: str, is_package: bool, known: set[str]) -> list[str]:
    mine = floor_of(module)
    if mine is None:
        return []
    bad = []
    for target in imports_of(source, module, is_package):
        while target and target not in known:
            target = target.rpartition(".")[0]
        if not target or target == module:
            continue
        theirs = floor_of(target)
        if theirs is None or (module, target) in LAZY:
            continue
        folder, other = module.split(".")[0], target.split(".")[0]
        if theirs > mine:
            bad.append(f"{module} (floor {mine}) imports {target} (floor {theirs})")
        elif folder == other and "." in module and "." in target:
            order = ORDER.get(folder, [])
            a, b = module.split(".")[1], target.split(".")[1]
            rank = {n: i for i, n in enumerate(order)}
            if (rank.get(a, len(order)), a) < (rank.get(b, len(order)), b):
                bad.append(f"{module} imports {target}, which stands after it in its folder")
        elif theirs == mine and folder != other and FLOORS[mine].index(folder) < FLOORS[mine].index(other):
            bad.append(f"{module} imports {target}, which stands after it on its floor")
    return bad


KNOWN = modules()


@pytest.mark.parametrize("module", [m for m in KNOWN if m != "__init__"])
def test_imports_point_down(module):
    path = KNOWN[module]
    assert violations(module, path.read_text(), path.name == "__init__.py", set(KNOWN)) == []


@pytest.mark.parametrize("module", [m for m in KNOWN if m != "__init__"])
def test_every_module_has_a_floor(module):
    assert floor_of(module) is not None, f"{module} has no floor: add it to FLOORS and to CONTRIBUTING.md"


def test_the_test_sees_a_violation():
    known = {"samplers.base", "training.cd", "energies.base", "energies.rbm"}
    assert violations("samplers.base", "from ..training.cd import train_cd", False, known)
    assert violations("energies.base", "def f():\n    from .rbm import GRBM", False, known)
    assert not violations("training.cd", "from ..samplers import base", False, known)
