"""Searches on several machines: nobody waits without saying so.

KerasTuner's chief waits for workers that were killed, and its workers wait for a chief
that is gone, both in silence. It is imported where it is used, because it loads
KerasTuner.
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
from keras_tuner.src.distribute.oracle_client import OracleClient

from keras_lr._keras.models import print_message

# In seconds.
CHIEF_LOOKS_EVERY = 10.0
WORKER_IS_LATE = 300.0
WORKER_IS_GONE = 60.0
CHIEF_IS_LATE = 30.0
_CALLS = (
    *("get_space", "update_space", "create_trial", "update_trial", "end_trial"),
    *("get_trial", "get_best_trials"),
)


def _address() -> str:
    return ":".join(os.environ[f"KERASTUNER_ORACLE_{key}"] for key in ("IP", "PORT"))


class PatientClient(OracleClient):
    """An `OracleClient` that outlives its chief: it says that it waits, and repeats.

    A call that was cut off is made again. A second report of the same trial changes
    nothing at the chief.

    Args:
        client: Client that KerasTuner made.
    """

    def __init__(self, client: Any) -> None:
        super().__init__(client._oracle)
        self.multi_worker = client.multi_worker
        self.should_report = client.should_report

    def _repeat(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        while True:
            try:
                with _announced():
                    return call(*args, **kwargs)
            except grpc.RpcError as error:
                if error.code() != grpc.StatusCode.UNAVAILABLE:
                    raise
            print_message(f"The chief at {_address()} broke off; asking again.")
            time.sleep(1.0)


def _repeating(name: str) -> Callable[..., Any]:
    plain = getattr(OracleClient, name)

    def call(self: PatientClient, *args: Any, **kwargs: Any) -> Any:
        return self._repeat(plain, self, *args, **kwargs)

    return call


for _name in _CALLS:
    setattr(PatientClient, _name, _repeating(_name))


@contextlib.contextmanager
def _announced() -> Iterator[None]:
    """Print a message if the block takes long."""
    message = (
        f"No answer from the chief at {_address()} for {CHIEF_IS_LATE:.0f} seconds. "
        "This worker waits for up to an hour. Start the chief again, or stop this "
        "worker if the search is over."
    )
    timer = threading.Timer(CHIEF_IS_LATE, print_message, [message])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


class ChiefWatch:
    """A thread on the chief that says whom it waits for; a context manager.

    Args:
        oracle: A `DurableOracle`.
        is_over: Function that tells whether all trials of the search have ended.
    """

    def __init__(self, oracle: Any, is_over: Callable[[], bool]) -> None:
        self._oracle = oracle
        self._is_over = is_over
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._said: dict[str, float] = {}

    def __enter__(self) -> None:
        print_message(f"Chief: waiting for workers at {_address()}.")
        self._thread.start()

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(CHIEF_LOOKS_EVERY):
            self._look()

    def _look(self) -> None:
        late = self._oracle.overdue(WORKER_IS_LATE)
        for tuner_id, (trial_id, seconds) in late.items():
            # Again when it has taken twice as long.
            if seconds > 2 * self._said.get(trial_id, 0.0):
                self._said[trial_id] = seconds
                print_message(
                    f"Chief: {tuner_id} has had trial {trial_id} for {seconds:.0f} "
                    "seconds, and the search waits for it. If it was killed, start a "
                    f"worker with KERASTUNER_TUNER_ID={tuner_id}: it gets the trial."
                )
        if self._is_over():
            for tuner_id in self._oracle.dismiss_silent(WORKER_IS_GONE):
                print_message(f"Chief: {tuner_id} is gone; not waiting for it.")
