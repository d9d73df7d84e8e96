"""Files that come with the package are found in the wheel first, then in the checkout."""

import pytest

from ebmlearn import resources
from ebmlearn.resources import resource


def test_wheel_first_then_checkout(tmp_path, monkeypatch):
    package = tmp_path / "site" / "ebmlearn"
    monkeypatch.setattr(resources, "PACKAGE", package)
    (tmp_path / "site" / "data").mkdir(parents=True)
    (tmp_path / "site" / "data" / "a.txt").write_text("checkout")
    assert resource("data/a.txt").read_text() == "checkout"
    (package / "_resources" / "data").mkdir(parents=True)
    (package / "_resources" / "data" / "a.txt").write_text("wheel")
    assert resource("data/a.txt").read_text() == "wheel"
    with pytest.raises(FileNotFoundError, match=r"no data/b.txt: looked at .*_resources.*site/data/b.txt"):
        resource("data/b.txt")


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../x", "data/../../x"])
def test_only_relative_paths_inside(path):
    with pytest.raises(ValueError, match="relative path"):
        resource(path)
