"""Searches whose processes are killed, and started again.

What must hold: no trial lost, none counted twice, the same rates and scores as without
a kill, and nobody waits without saying so.
"""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

import keras_lr
from tests.integration import zooming_process

pytestmark = pytest.mark.slow

SCRIPT = Path(zooming_process.__file__)
ROOT = SCRIPT.parents[2]
LONGEST = 400  # Seconds until a test says that something hangs.


class Process:
    """One process of a search; its output is in a file that can be read meanwhile."""

    def __init__(self, directory, trials, seconds, *options, environment=None, name=""):
        directory.mkdir(parents=True, exist_ok=True)
        number = len(list(directory.glob("out*")))
        self.output = directory / f"out{number}{name}"
        settings = {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
        with self.output.open("wb") as file:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    SCRIPT,
                    directory,
                    str(trials),
                    str(seconds),
                    *options,
                ],
                stdout=file,
                stderr=subprocess.STDOUT,
                cwd=directory,
                env=os.environ | settings | (environment or {}),
            )

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def finish(self):
        try:
            code = self.process.wait(LONGEST)
        finally:
            self.process.kill()
        assert code == 0, self.said
        assert "finished" in self.said
        # Neither what a kill has left nor a chief's workers are another search.
        assert "Something else writes" not in self.said

    @property
    def said(self):
        return self.output.read_text()


def log(directory):
    path = directory / "log"
    return path.read_text().splitlines() if path.exists() else []


def wait_until(condition, processes=()):
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < LONGEST, [each.said for each in processes]
        for each in processes:
            assert each.process.poll() in (None, 0), each.said
        time.sleep(0.05)


def outcome(directory):
    """Return id, rate, pull and score of each trial, from the files."""
    rows = []
    for path in sorted((directory / "untitled_project").glob("trial_*/trial.json")):
        trial = json.loads(path.read_text())
        assert trial["status"] == "COMPLETED", trial
        values = trial["hyperparameters"]["values"]
        (loss,) = trial["metrics"]["metrics"].values()
        # Counted twice, it would have two values.
        assert [len(each["value"]) for each in loss["observations"]] == [1]
        rows.append(
            (
                *(trial["trial_id"], values["learning_rate"], values["zooming/pull"]),
                trial["score"],
            )
        )
    return rows


def check_order(directory, trials):
    state = json.loads((directory / "untitled_project" / "oracle.json").read_text())
    assert sorted(map(int, state["end_order"])) == list(range(trials))
    assert sorted(map(int, state["start_order"])) == list(range(trials))
    assert state["ongoing_trials"] == {}
    assert state["retry_queue"] == []


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    directory = tmp_path_factory.mktemp("whole")
    Process(directory, 6, 0).finish()
    return outcome(directory)


@pytest.mark.parametrize("seed", range(3))
def test_search_killed_at_random_moments_comes_to_the_same(tmp_path, whole, seed):
    moments = random.Random(seed)
    for number in range(3):
        process = Process(tmp_path, 6, 0.2)
        begun = len(log(tmp_path))
        wait_until(lambda: len(log(tmp_path)) > begun, [process])  # noqa: B023
        time.sleep(moments.uniform(0, 0.6))
        process.kill()
        assert number or log(tmp_path)
    Process(tmp_path, 6, 0.2).finish()
    assert outcome(tmp_path) == whole
    check_order(tmp_path, 6)


def test_real_trainings_killed_in_between_have_the_same_scores(tmp_path):
    Process(tmp_path / "whole", 4, 0, "real").finish()
    process = Process(tmp_path / "killed", 4, 0.2, "real")
    wait_until(lambda: len(log(tmp_path / "killed")) >= 4, [process])
    process.kill()
    Process(tmp_path / "killed", 4, 0.2, "real").finish()
    scores = [
        [(each.learning_rate, each.score) for each in opened(tmp_path / name, 4)]
        for name in ("whole", "killed")
    ]
    assert scores[0] == scores[1]
    check_order(tmp_path / "killed", 4)


def opened(directory, trials):
    tuner = keras_lr.Zooming(
        zooming_process.build, "loss", trials, directory=directory, seed=0
    )
    return tuner.oracle.trainings()


class Cluster:
    """A chief and its workers, on this machine."""

    def __init__(self, *arguments):
        self.arguments = arguments
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.members = {}

    def start(self, name):
        environment = {
            "KERASTUNER_TUNER_ID": name,
            "KERASTUNER_ORACLE_IP": "127.0.0.1",
            "KERASTUNER_ORACLE_PORT": str(self.port),
        }
        self.members[name] = Process(
            *self.arguments, environment=environment, name=name
        )

    def kill(self, name):
        self.members.pop(name).kill()

    def wait_until(self, condition):
        wait_until(condition, self.members.values())

    def finish(self):
        for member in self.members.values():
            member.finish()

    def stop(self):
        for member in self.members.values():
            member.kill()


@pytest.fixture
def cluster(tmp_path):
    made = Cluster(tmp_path, 8, 1.0)
    yield made
    made.stop()


def lines(directory, text):
    return [line for line in log(directory) if text in line]


def check_all_are_there(directory, trials):
    rows = outcome(directory)
    assert [int(trial_id) for trial_id, *_ in rows] == list(range(trials))
    rates = {(rate, pull) for _, rate, pull, _ in rows}
    assert len(rates) == trials  # No rate twice except as a second pull.
    check_order(directory, trials)


def test_chief_and_two_workers_share_the_trials(cluster, tmp_path):
    for name in ("chief", "worker0", "worker1"):
        cluster.start(name)
    cluster.finish()
    check_all_are_there(tmp_path, 8)
    assert len(lines(tmp_path, "worker0 ends")) >= 2
    assert len(lines(tmp_path, "worker1 ends")) >= 2
    assert len(lines(tmp_path, " ends ")) == 8


def test_worker_that_is_killed_and_started_again_gets_its_trial_back(cluster, tmp_path):
    for name in ("chief", "worker0", "worker1"):
        cluster.start(name)
    cluster.wait_until(lambda: len(lines(tmp_path, "worker1 begins")) >= 2)
    cluster.kill("worker1")
    (lost,) = set(lines(tmp_path, "worker1 begins")[-1:])
    cluster.start("worker1")
    cluster.finish()
    check_all_are_there(tmp_path, 8)
    # Again the first thing that it does.
    number = lines(tmp_path, "worker1 begins").index(lost)
    assert lines(tmp_path, "worker1 begins")[number + 1] == lost


def test_chief_that_is_killed_and_started_again_loses_and_repeats_nothing(
    cluster, tmp_path
):
    for name in ("chief", "worker0", "worker1"):
        cluster.start(name)
    cluster.wait_until(lambda: len(lines(tmp_path, " ends ")) >= 2)
    cluster.kill("chief")
    workers = dict(cluster.members)
    cluster.start("chief")
    cluster.finish()
    assert dict(cluster.members).items() >= workers.items()  # The same processes.
    check_all_are_there(tmp_path, 8)
    assert len(lines(tmp_path, " begins ")) == 8  # Nothing was run again.


def test_nobody_waits_in_silence(cluster, tmp_path):
    """A worker is killed for good: the chief names it, and the rest is done."""
    for name in ("chief", "worker0", "worker1"):
        cluster.start(name)
    cluster.wait_until(lambda: len(lines(tmp_path, "worker1 begins")) >= 1)
    cluster.kill("worker1")
    cluster.wait_until(lambda: cluster.members["worker0"].process.poll() == 0)
    chief = cluster.members["chief"]
    cluster.wait_until(lambda: "KERASTUNER_TUNER_ID=worker1: it gets" in chief.said)
    cluster.start("worker1")
    cluster.finish()
    check_all_are_there(tmp_path, 8)


@pytest.fixture
def batches(tmp_path):
    made = Cluster(tmp_path / "cluster", 6, 0.5, "blie")
    yield made
    made.stop()


@pytest.mark.parametrize("killed", [(), ("worker1",), ("chief",)], ids=str)
def test_batches_are_shared_by_two_workers(batches, tmp_path, killed):
    """The rates of the first batch are those of a search alone, in any order."""
    Process(tmp_path / "alone", 6, 0, "blie").finish()
    for name in ("chief", "worker0", "worker1"):
        batches.start(name)
    cluster = tmp_path / "cluster"
    batches.wait_until(lambda: len(lines(cluster, " ends ")) >= 2)
    batches.wait_until(lambda: len(lines(cluster, "worker1 begins")) >= 2)
    for name in killed:
        batches.kill(name)
        batches.start(name)
    batches.finish()
    check_all_are_there(cluster, 6)
    shared, alone = (outcome(tmp_path / name) for name in ("cluster", "alone"))
    assert {each[1] for each in shared[:3]} == {each[1] for each in alone[:3]}
    ends = lines(cluster, " ends ")
    assert len({line.split()[-1] for line in ends}) == 6
    if "worker1" not in killed:
        assert len(ends) == 6  # Nothing was run again.
