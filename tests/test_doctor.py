"""The doctor finds what is wrong, says what to do, and one broken part does not hide the others."""

import importlib.metadata

import pytest

from ebmlearn.course import doctor as d


def test_a_right_set_up(capsys):
    assert d.doctor()
    out = capsys.readouterr().out
    assert out.rstrip().endswith("All is well.")
    for part in ("Python", "torch", "device", "widgets", "digits", "image sets", "weights", "lessons", "fonts", "C++ compiler"):
        assert part in out


def test_a_missing_and_an_old_package(monkeypatch, capsys):
    real = importlib.metadata.version

    def version(name):
        if name == "seaborn":
            raise importlib.metadata.PackageNotFoundError(name)
        return {"matplotlib": "3.4.1"}.get(name) or real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    found = {f.what: f for f in d.look_at_packages()}
    assert found["seaborn"].status == "missing" and found["seaborn"].cure == 'pip install "seaborn>=0.13"'
    assert found["matplotlib"].status == "missing" and "3.4.1, too old" in found["matplotlib"].says
    assert found["torch"].status == "ok"
    monkeypatch.setattr(d, "LOOKS", (d.look_at_packages,))
    assert not d.doctor() and "Missing: matplotlib, seaborn." in capsys.readouterr().out


def test_a_look_that_fails_is_a_finding(monkeypatch):
    def look_at_weights():
        raise OSError("disk on fire")

    monkeypatch.setattr(d, "LOOKS", (look_at_weights, d.look_at_python))
    first, second = d.examine()
    assert first.status == "missing" and "disk on fire" in first.says and second.status == "ok"


@pytest.mark.parametrize(
    "text, parts", [("2.13.0+cpu", (2, 13, 0)), ("3.9.0rc1", (3, 9, 1)), ("0.9.13", (0, 9, 13)), ("1.0.dev", (1, 0))]
)
def test_versions(text, parts):
    assert d._version(text)[: len(parts)][:2] == parts[:2]


def test_versions_are_compared_as_numbers():
    assert d._version("0.13.2") > d._version("0.9.13") and d._version("10.0") > d._version("9.9")


def test_no_compiler_is_only_a_note(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert d.look_at_compiler().status == "note"


def test_the_requirements_are_those_of_the_package():
    try:
        declared = importlib.metadata.requires("ebmlearn") or []
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("ebmlearn is not installed, only importable")
    lines = {line.split(";")[0].replace(" ", "") for line in declared if "extra" not in line}
    for package, lowest in d.NEEDED.items():
        assert f"{package}>={lowest}" in lines
