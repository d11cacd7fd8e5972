import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

PROCESS = Path(__file__).with_name("worker_process.py")
ROOT = Path(__file__).parents[2]


def start(name, output, config=None):
    """Start a worker, or a training on one device."""
    environment = {k: v for k, v in os.environ.items() if k != "TF_CONFIG"}
    environment["PYTHONPATH"] = str(ROOT)
    if config is not None:
        environment["TF_CONFIG"] = json.dumps(config)
    command = [sys.executable, str(PROCESS), name, str(output)]
    return subprocess.Popen(
        command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
    )


def free_ports(number):
    """Return ports of the loopback that nobody listens at."""
    sockets = [socket.socket() for _ in range(number)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def finished(processes):
    """Wait until all have ended, and fail with what one of them wrote."""
    try:
        for process in processes:
            _, error = process.communicate(timeout=180)
            assert process.returncode == 0, error.decode(errors="replace")[-2000:]
    finally:
        for process in processes:
            process.kill()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["AdaMo", "AdaptiveRMSprop", "AutoAdam"])
def test_two_workers_in_a_loop_without_fit_equal_one_device(name, tmp_path):
    workers = [f"127.0.0.1:{port}" for port in free_ports(2)]
    outputs = [tmp_path / f"{each}.npz" for each in ("first", "second", "alone")]
    finished([start(name, outputs[2])])
    configs = [
        {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
        for index in range(2)
    ]
    together = zip(outputs[:2], configs, strict=True)
    finished([start(name, output, config) for output, config in together])
    first, second, alone = map(np.load, outputs)
    assert (first["workers"], alone["workers"]) == (2, 1)
    for key in set(alone.files) - {"workers"}:
        np.testing.assert_array_equal(first[key], second[key])
        np.testing.assert_allclose(first[key], alone[key], rtol=1e-4, atol=1e-6)
    # They have moved: the initial bias is 0.
    assert all(alone["arr_1"] != 0)
