"""Write docs/api.md, the reference of public names, from the docstrings: `python -m tools.api_reference [--check]`."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
OUT = ROOT / "docs" / "api.md"
PACKAGES = ["functional", "schedules", "networks", "energies", "objectives", "contrastive", "datasets", "samplers", "metrics", "planning",
            "training", "pretrained", "viz", "widgets", "checks", "course"]  # fmt: skip


def signature(obj: object) -> str:
    try:
        text = str(inspect.signature(obj))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return ""
    text = re.sub(r"(: |-> )'([^']*)'", r"\1\2", text)  # annotations are strings; defaults keep their quotes
    text = re.sub(r"<function ([\w.]+) at 0x[0-9a-f]+>", r"\1", text)
    text = re.sub(r"<(factory|class '[\w.]+)'?>", r"\1", text).replace("class '", "")
    return text.replace("torch.Tensor", "Tensor").replace("torch.nn.modules.", "nn.")


def first_paragraph(doc: str) -> str:
    return " ".join(doc.strip().split("\n\n")[0].split())


def public(module: object) -> list[tuple[str, object]]:
    """Classes and functions that the module itself defines, in the order of its source."""
    found = []
    for name, obj in vars(module).items():
        mine = getattr(obj, "__module__", None) == module.__name__  # type: ignore[attr-defined]
        if not name.startswith("_") and mine and (inspect.isclass(obj) or inspect.isfunction(obj)):
            found.append((name, obj))
    return sorted(found, key=lambda pair: inspect.getsourcelines(pair[1])[1])  # type: ignore[arg-type]


def modules() -> list[str]:
    names = []
    for top in PACKAGES:
        path = ROOT / "ebmlearn" / top
        if path.is_dir():
            if (path / "__init__.py").exists():
                # the checkers of one lesson are for its notebook
                names += [f"{top}.{m.name}" for m in pkgutil.iter_modules([str(path)]) if top != "checks" or m.name == "base"]
        elif path.with_suffix(".py").exists():
            names.append(top)
    return names


def render() -> str:
    lines = ["# API reference", "", "Generated from the docstrings by `make api`; edit those.", ""]
    for name in modules():
        module = importlib.import_module(f"ebmlearn.{name}")
        members = public(module)
        if not members:
            continue
        lines += [f"## `ebmlearn.{name}`", "", first_paragraph(module.__doc__ or ""), ""]
        for member, obj in members:
            lines += [f"- **`{member}{signature(obj)}`**: {first_paragraph(inspect.getdoc(obj) or '')}"]
            if inspect.isclass(obj):
                for method, fn in vars(obj).items():
                    inner = fn.__func__ if isinstance(fn, classmethod | staticmethod) else fn
                    if not method.startswith("_") and inspect.isfunction(inner) and inspect.getdoc(inner):
                        lines.append(f"  - `.{method}{signature(inner)}`: {first_paragraph(inspect.getdoc(inner) or '')}")
        lines.append("")
    return "\n".join(lines)


def main() -> int:
    text = render()
    if "--check" in sys.argv:
        if not OUT.exists() or OUT.read_text() != text:
            print("docs/api.md is out of step with the docstrings: run make api")
            return 1
        return 0
    OUT.write_text(text)
    print(f"{OUT.relative_to(ROOT)}: {text.count(chr(10))} lines")
    return 0


if __name__ == "__main__":
    sys.exit(main())
