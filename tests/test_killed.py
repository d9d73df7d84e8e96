"""SIGKILL at random moments: nothing is lost but the steps since the last checkpoint, no file is ever half-written, the end is that of a run left alone.

The children are forks of this process with everything imported, so that a kill costs a fraction of a second.
"""

import csv
import json
import os
import random
import signal
import time
from dataclasses import replace

import pytest

from ebmlearn.training import cd, clel, rbm, score
from ebmlearn.training.clel_model import ClelConfig
from ebmlearn.training.state import RunOptions, make_fabric, read_checkpoint
from tests.helpers import same

KILLS = 24
RECIPES = {
    "clel": (clel.run_clel, ClelConfig(steps=40, batch_size=8, mcmc_steps=2, buffer_size=30, project_features=16, warm_up=2)),
    "score": (score.run_score, score.ScoreConfig(steps=40, batch_size=16, hidden_features=(8,))),
    "cd": (
        cd.run_cd,
        replace(cd.cd_preset("8gaussians"), steps=40, batch_size=16, hidden_features=(8,), mcmc_steps=2, buffer_size=40),
    ),
    "rbm": (rbm.run_rbm, replace(rbm.rbm_preset("digits", "tiny"), steps=40, negatives="pcd")),
}


def looked_at(out):
    """Every file of a run, read as its kind is read; scratch files, which are hidden and never renamed, are no files of the run."""
    seen = {}
    for path in sorted(p for p in out.rglob("*") if p.is_file() and not p.name.startswith(".")):
        if path.suffix == ".ckpt":
            seen[path.name] = int(read_checkpoint(path)["state"]["step"])
        elif path.suffix == ".csv":
            with open(path, newline="") as file:
                rows = list(csv.reader(file))
            assert rows and all(len(r) == len(rows[0]) for r in rows), f"{path.name} is torn"
            seen[path.name] = [int(r[0]) for r in rows[1:]]
        elif path.suffix == ".json":
            seen[path.name] = json.loads(path.read_text())
        else:
            assert path.suffix == ".png", f"a file of an unknown kind: {path.name}"
            body = path.read_bytes()
            assert body.startswith(b"\x89PNG") and body.endswith(b"\xaeB`\x82"), f"{path.name} is half a picture"
            seen[path.name] = len(body)
    return seen


def killed_child(target, steps, pause):
    """Run `target(on_log)` in a fork; send it SIGKILL `pause` seconds after its `steps`-th step; the number of steps it reported.

    A child that ends by itself, well or badly, fails the test; one that is three steps ahead of its killer waits for it.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        left = steps + 3

        def log(step, metrics):
            nonlocal left
            left -= 1
            os.write(writer, b".")
            if left == 0:
                signal.pause()

        try:
            os.close(reader)
            target(log)
        finally:
            os._exit(1)
    os.close(writer)
    seen = 0
    while seen < steps and (got := os.read(reader, steps - seen)):
        seen += len(got)
    time.sleep(pause)
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL, "the child ended before it was killed"
    while got := os.read(reader, 1000):
        seen += len(got)
    os.close(reader)
    return seen


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize("name", RECIPES)
def test_killed_at_random_moments(name, tmp_path):
    run, config = RECIPES[name]
    more = {"draw": False} if name == "rbm" else {}
    options = RunOptions(out=tmp_path / "killed", resume=True, log_every=1, checkpoint_minutes=0.0)
    began = time.monotonic()
    whole = run(config, replace(options, out=tmp_path / "whole"), fabric=make_fabric(), **more)
    each = (time.monotonic() - began) / config.steps

    rng = random.Random(name)
    n = KILLS // len(RECIPES)
    last = 0
    for i in range(n):
        # in the middle of a step, of a checkpoint or between two; the first while the data are read or the networks built
        steps, pause = (0, rng.uniform(0, 0.1)) if i == 0 else (rng.randint(1, 3), rng.uniform(0, 3 * each))
        said = killed_child(lambda log: run(config, options, fabric=make_fabric(), on_log=log, **more), steps, pause)
        seen = looked_at(tmp_path / "killed") if (tmp_path / "killed").exists() else {}
        step = seen.get("last.ckpt", 0)
        # a step is reported, then saved: at most the last one is lost
        assert last + said - 1 <= step <= last + said, f"{said} steps after {last}, and the checkpoint is of {step}"
        assert step in (seen.get("metrics.csv") or [0])[-2:] or step == 0
        last = step
    assert last >= n - 2
    end = run(config, options, fabric=make_fabric(), **more)
    assert end.step == config.steps and same(whole.state_dict(), end.state_dict())
    seen = looked_at(tmp_path / "killed")
    assert seen["metrics.csv"] == list(range(1, config.steps + 1))  # every row once
    assert not list((tmp_path / "killed").glob(".*.part")), "what a killed process had begun is removed on resume"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_the_test_sees_a_torn_file(tmp_path):
    (tmp_path / "last.ckpt").write_bytes(b"PK\x03\x04 half")
    with pytest.raises(ValueError, match="truncated"):
        looked_at(tmp_path)
    (tmp_path / "last.ckpt").unlink()
    (tmp_path / "metrics.csv").write_text("step,loss\n1,0.5\n2")
    with pytest.raises(AssertionError, match="torn"):
        looked_at(tmp_path)
    assert killed_child(lambda log: [log(0, {}), time.sleep(30)], 1, 0.01) == 1
    with pytest.raises(AssertionError, match="ended before"):
        killed_child(lambda log: log(0, {}), 2, 0.1)
