"""Slim weights with a model card: safetensors below 16 MiB a file, bfloat16 matrices, hashes in `card.json`, the same in words in `card.md`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .files import write_atomic

LIMIT = 15 * 2**20  # bytes of tensors in one file; with its header a file stays below 16 MiB


def slim(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Floating-point matrices in bfloat16, vectors as they are, on the CPU."""
    return {
        k: (v.detach().to(torch.bfloat16) if v.ndim > 1 and v.is_floating_point() else v.detach()).contiguous().cpu()
        for k, v in tensors.items()
    }


def write_tensors(folder: Path, tensors: Mapping[str, Tensor], *, name: str = "weights") -> dict[str, str]:
    """Write `<name>.safetensors`, or `<name>-1-of-3.safetensors`, ... when one file would be too large.

    Returns:
        File name -> SHA-256, for the card.
    """
    from safetensors.torch import save

    parts: list[dict[str, Tensor]] = [{}]
    size = 0
    for k, v in tensors.items():
        if size + v.nbytes > LIMIT and parts[-1]:
            parts.append({})
            size = 0
        parts[-1][k] = v
        size += v.nbytes
    many = len(parts)
    sums = {}
    for i, part in enumerate(parts):
        file = f"{name}.safetensors" if many == 1 else f"{name}-{i + 1}-of-{many}.safetensors"
        body = save(part)
        write_atomic(Path(folder) / file, body)
        sums[file] = hashlib.sha256(body).hexdigest()
    return sums


def read_tensors(folder: Path, sums: Mapping[str, str], *, name: str = "weights") -> dict[str, Tensor]:
    """All tensors of `<name>` that `write_tensors` wrote, every file's hash verified.

    Raises:
        ValueError: a file's hash is not the card's, or the card names no such file.
    """
    from safetensors.torch import load

    files = [f for f in sums if f == f"{name}.safetensors" or f.startswith(f"{name}-")]
    if not files:
        raise ValueError(f"the card in {folder} names no {name}.safetensors; it names {sorted(sums)}")
    tensors: dict[str, Tensor] = {}
    for file in files:
        body = (Path(folder) / file).read_bytes()
        if hashlib.sha256(body).hexdigest() != sums[file]:
            raise ValueError(f"{Path(folder) / file} does not have the hash that its card gives; fetch it again")
        tensors.update(load(body))
    return tensors


def write_card(folder: Path, card: Mapping[str, Any]) -> None:
    """`card.json`, and `card.md` in words where the card has a name."""
    write_atomic(Path(folder) / "card.json", json.dumps(card, indent=1) + "\n")
    if "name" in card:
        write_atomic(Path(folder) / "card.md", card_text(Path(folder), card))


def card_text(folder: Path, card: Mapping[str, Any]) -> str:
    """The card in Markdown, from `card.json` alone; an entry that is missing is said to be."""

    def said(key: str, missing: str) -> str:
        return str(card[key]) if card.get(key) not in (None, "") else missing

    size = sum((folder / f).stat().st_size for f in card["sha256"] if (folder / f).exists())
    results = card.get("results") or {}
    rows = "\n".join(
        f"  - {k}: {v:.4g}" + (f" ± {results[k + '_error']:.2g}" if f"{k}_error" in results else "")
        if isinstance(v, float)
        else f"  - {k}: {v}"
        for k, v in results.items()
        if not k.endswith("_error")
    )
    spent = (
        f"{card['hours']:.3g} hours on {card['device']}" if "hours" in card else f"on {said('device', 'a device not recorded')}"
    )
    steps = f"{card['steps']} updates, " if "steps" in card else ""
    made = f"`{said('command', 'not recorded')}` ({steps}{spent}, commit {said('commit', 'not recorded')})"
    return (
        f"# {card['name']}\n\n{said('about', 'Averaged weights of one run.')}\n\n"
        f"- **Data**: {said('data', 'not recorded')}.\n- **Made by**: {made}.\n"
        f"- **Results**:{' none measured yet.' if not results else chr(10) + rows}\n"
        f"- **Weights**: {len(card['sha256'])} file(s) of safetensors, {size / 2**20:.1f} MiB; SHA-256 in `card.json`, checked by "
        f'`load_pretrained("{card["name"]}")`.\n'
        f"- **Licence**: {said('licence', 'not recorded')}.\n- **Limits**: {said('limits', 'not recorded')}\n"
    )
