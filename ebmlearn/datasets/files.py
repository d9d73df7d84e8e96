"""Official files: where they are kept, how they are fetched, and the check that stands before anything reads them."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path


class DataError(RuntimeError):
    """Data that is missing, damaged or unknown; the message says what to do."""


@dataclass(frozen=True)
class Official:
    """One file of a data set as its authors publish it.

    Args:
        folder: name of the data set; the file lies at `<root>/<folder>/<name>`.
        name: the official file name.
        md5: of the official file.
        url: where it is published; empty when it must be fetched by hand.
        source: where to look for it by hand, when there is no url.
    """

    folder: str
    name: str
    md5: str
    url: str = ""
    source: str = ""


def root() -> Path:
    """The folder that holds the data: the environment variable EBMLEARN_DATA, else the user's cache."""
    own = os.environ.get("EBMLEARN_DATA", "")
    if own:
        return Path(own).expanduser()
    import pooch

    return Path(pooch.os_cache("ebmlearn"))


def digest(path: Path, algorithm: str) -> str:
    """The hash of a file, read in blocks."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def verified(file: Official) -> Path:
    """The path of an official file whose hash has been checked; downloaded first if it is not there.

    Under EBMLEARN_DATA, and only there, a `checksums.json` may vouch for files by SHA-256 (`{"<folder>/<name>": "<hash>"}`);
    such a local copy is accepted with a printed notice.

    Raises:
        DataError: no network, an interrupted download, a wrong hash; says what to do by hand.
    """
    path = root() / file.folder / file.name
    if not path.exists():
        _download(file, path)
    found = digest(path, "md5")
    if found == file.md5:
        return path
    if os.environ.get("EBMLEARN_DATA"):
        local = _local_checksums().get(f"{file.folder}/{file.name}")
        if local is not None and digest(path, "sha256") == local:
            print(f"local copy: {path} is not the official file; accepted by checksums.json in EBMLEARN_DATA", file=sys.stderr)
            return path
    raise DataError(
        f"{path} is not the official file: MD5 {found}, expected {file.md5}. Nothing was read from it. "
        f"Delete it and try again, or fetch {file.url or file.source} by hand and put it there"
    )


def _local_checksums() -> dict[str, str]:
    path = root() / "checksums.json"
    if not path.exists():
        return {}
    try:
        table = json.loads(path.read_text())
    except ValueError as error:
        raise DataError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(table, dict):
        raise DataError(f"{path} should map '<folder>/<file name>' to a SHA-256; got a {type(table).__name__}")
    return {str(k): str(v) for k, v in table.items()}


def _download(file: Official, path: Path) -> None:
    by_hand = f"fetch {file.url or file.source} by hand and put it at {path} (or under another folder named by EBMLEARN_DATA)"
    if not file.url:
        raise DataError(f"{file.folder} is not downloaded automatically: {by_hand}")
    import pooch
    import requests

    print(f"downloading {file.url} to {path.parent}", file=sys.stderr)
    try:
        # pooch writes to a scratch file, checks the hash there, and only then moves it to its place
        pooch.retrieve(
            file.url,
            known_hash=f"md5:{file.md5}",
            fname=file.name,
            path=path.parent,
            downloader=pooch.HTTPDownloader(progressbar=False, timeout=30),
        )
    except requests.exceptions.ChunkedEncodingError as error:
        raise DataError(f"the download of {file.url} was interrupted; nothing was kept. Try again, or {by_hand}") from error
    except requests.exceptions.RequestException as error:
        raise DataError(
            f"could not download {file.url} ({type(error).__name__}; no network?). Try again, or {by_hand}"
        ) from error
    except ValueError as error:  # pooch's word for a wrong hash
        raise DataError(
            f"what {file.url} sent is not the official file (wrong MD5, expected {file.md5}); it was thrown away. {by_hand}"
        ) from error
