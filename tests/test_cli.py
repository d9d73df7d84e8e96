"""The command line: every command runs, and bad input is one clear line and exit code 2."""

import csv
import re
import subprocess
import sys

import numpy as np
import pytest
import torch

from ebmlearn import cli, cli_train

TINY = [
    "--data",
    "8gaussians",
    "--steps",
    "4",
    "--batch-size",
    "16",
    "--hidden-features",
    "8",
    "--mcmc-steps",
    "2",
    "--buffer-size",
    "32",
]


@pytest.fixture
def run(capsys):
    def call(*words):
        code = cli.main([str(w) for w in words])
        out, err = capsys.readouterr()
        return code, out, err

    return call


def trained(run, folder, *more):
    return run("train", "cd", *TINY, "--out", folder, *more)


def test_usage_names_every_command(run):
    code, out, _ = run("--help")
    assert code == 0 and all(name in out for name in cli.COMMANDS)
    assert run()[0] == 2
    assert run("--version")[1].startswith("ebmlearn 0.")


def test_train_resume_and_sample(run, tmp_path):
    out = tmp_path / "run"
    code, text, _ = trained(run, out)
    assert code == 0 and "4 updates" in text and (out / "last.ckpt").exists()
    code, _, err = trained(run, out)
    assert code == 2 and "--resume" in err and err.count("\n") == 1
    code, _, err = trained(run, out, "--resume", "--steps", "6")
    assert code == 2 and "steps: 4 in the checkpoint, 6 now" in err and "--override" in err
    code, text, _ = trained(run, out, "--resume", "--steps", "6", "--override", "steps")
    assert code == 0 and "6 updates" in text
    for name in ("x.npz", "x.pt"):
        code, text, _ = run("sample", "--from", out, "--n", 5, "--out", tmp_path / name)
        assert code == 0 and "5 samples" in text
    x = np.load(tmp_path / "x.npz")["x"]
    assert x.shape == (5, 2) and np.isfinite(x).all()
    assert np.array_equal(torch.load(tmp_path / "x.pt", weights_only=True).numpy(), x)  # the same seed
    code, _, err = run("sample", "--from", out, "--out", tmp_path / "x.png")
    assert code == 2 and "only images" in err


def test_train_starts_from_the_settings_of_its_data(run, tmp_path):
    assert trained(run, tmp_path / "a")[0] == 0
    payload = torch.load(tmp_path / "a" / "last.ckpt", weights_only=True)
    assert payload["config"]["clamp"] is False and payload["config"]["noise"] is None  # temperature 1 for points in the plane
    assert payload["config"]["hidden_features"] == (8,)


def test_max_minutes_stops_with_a_checkpoint(run, tmp_path):
    code, text, _ = trained(run, tmp_path / "a", "--steps", "1000000", "--max-minutes", "0.002")
    assert code == 0 and (tmp_path / "a" / "last.ckpt").exists() and "1000000" not in text


@pytest.mark.parametrize(
    "words, expected",
    [
        (["fly"], "unknown command 'fly'; known: doctor, data"),
        (["train", "gan"], "unknown recipe 'gan'; this version has: cd"),
        (["train", "cd", "--data", "imagnet", "--out", "x"], "unknown data set 'imagnet'"),
        (["data", "imagenet"], "unknown data set 'imagenet'"),
        (["sample", "--from", "nowhere.ckpt", "--out", "x.npz"], "no checkpoint at nowhere.ckpt"),
        (["sample", "--from", "nowhere.ckpt", "--out", "x.jpg"], "to end in .npz, .pt or .png"),
        (["sample", "--from", "nowhere.ckpt", "--n", "0", "--out", "x.npz"], "--n >= 1"),
        (["ablate", "everything"], "unknown ablation 'everything'; this version has: cd"),
        (["lessons", "a", "b"], "expected one folder"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(run, words, expected):
    code, _, err = run(*words)
    assert code == 2 and expected in err and err.count("\n") == 1 and "Traceback" not in err


@pytest.mark.parametrize(
    "words",
    [["train", "cd", "--stepz", "3"], ["train", "cd", "--data", "digits"], ["train", "cd", "--out", "x", "--steps", "many"]],
)
def test_wrong_flags_exit_with_2(words, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(words)
    assert stop.value.code == 2


def test_a_damaged_checkpoint_and_a_diverged_run_are_one_line(run, tmp_path):
    (tmp_path / "last.ckpt").write_bytes(b"PK\x03\x04 and nothing else")
    code, _, err = run("sample", "--from", tmp_path, "--out", tmp_path / "x.npz")
    assert code == 2 and "truncated or not a checkpoint" in err
    code, _, err = trained(run, tmp_path / "b", "--step-size", "1e6", "--steps", "100", "--learning-rate", "10")
    assert code in (1, 2) and err.splitlines()[-1].startswith("ebmlearn: ") and "Traceback" not in err


def test_an_error_of_the_program_is_not_hidden(monkeypatch):
    def broken(argv):
        raise KeyError("a bug")

    monkeypatch.setitem(cli.COMMANDS, "doctor", broken)
    with pytest.raises(KeyError):
        cli.main(["doctor"])


def test_data_lists_every_name_and_describes_one(run, monkeypatch, tmp_path):
    from ebmlearn import datasets

    monkeypatch.setenv("EBMLEARN_DATA", str(tmp_path))
    code, out, _ = run("data")
    assert code == 0 and all(name in out for name in datasets.names()) and str(tmp_path) in out and "not here" in out
    code, out, _ = run("data", "digits")
    assert code == 0 and "(1297, 1, 8, 8), 10 classes" in out and "digits test: (500," in out


def test_recipes_and_ablations_are_those_that_exist(run):
    code, out, _ = run("train", "--help")
    assert code == 0 and "cd " in out
    for name, recipe in cli_train.recipes().items():
        assert callable(cli_train._get(f"{recipe.module}:run_{name}")) and callable(cli_train._get(recipe.preset)), name
        assert cli_train._get(recipe.config)().data
    for name in cli_train.ablations():
        assert callable(cli_train._get(cli_train.ABLATIONS[name][0]))
    assert not cli_train._exists("cd:run_nothing") and not cli_train._exists("nothing:run_cd")


def test_ablate_writes_a_table(run, tmp_path, monkeypatch):
    monkeypatch.setattr(
        cli_train, "_settings", lambda name, steps: {"a": lambda seed: {"x": seed + steps}, "b": lambda seed: {"x": 1.0}}
    )
    code, out, _ = run("ablate", "cd", "--seeds", 0, 1, "--steps", 10, "--out", tmp_path / "t")
    assert code == 0 and "10.5 ± 0.5" in out
    assert "`ebmlearn ablate cd --seeds 0 1 --steps 10`" in (tmp_path / "t.md").read_text()
    with open(tmp_path / "t.csv") as file:
        assert len(list(csv.reader(file))) == 5


def test_lessons_are_copied_and_own_work_is_kept(run, tmp_path, monkeypatch):
    code, out, _ = run("lessons", tmp_path / "course", "--no-open")
    first = tmp_path / "course" / "00_setup_and_tour.ipynb"
    assert code == 0 and first.exists() and not (tmp_path / "course" / "source").exists()
    pages = [first, first.parent / "solutions" / first.name, *(first.parent / "docs").glob("*.md")]
    for page in pages:  # what is linked was copied, too
        relative = [t for t in re.findall(r"\]\(([^)#\s]+?)(?:#\w+)?\\?\)", page.read_text()) if ":" not in t]
        assert (relative or page.stem == "notation") and all((page.parent / t).exists() for t in relative), page
    first.write_text("my own work")
    assert run("lessons", tmp_path / "course", "--no-open")[1].startswith("0 new files")
    assert first.read_text() == "my own work"
    started = []
    monkeypatch.setattr(cli.subprocess, "run", lambda words: started.append(words) or subprocess.CompletedProcess(words, 0))
    assert run("lessons", tmp_path / "course", "--no-browser")[0] == 0
    assert started == [[sys.executable, "-m", "jupyterlab", "--no-browser", str(first)]]
    (tmp_path / "file").write_text("")
    assert run("lessons", tmp_path / "file", "--no-open")[0] == 2


def test_python_dash_m():
    done = subprocess.run([sys.executable, "-m", "ebmlearn", "train"], capture_output=True, text=True)
    assert done.returncode == 2 and "contrastive divergence" in done.stdout and done.stderr == ""
