"""Keep a simulator in step with the wall clock and the cluster's pods."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from enginesim.errors import EngineSimError
from enginesim.pods import PodLister
from enginesim.simulator import Simulator

_LAST_LOOK_SECONDS = 20.0
"""How long the end waits for a look at the pods that is under way."""
_END_SECONDS = 10.0


@contextmanager
def playing(simulator: Simulator, lister: PodLister) -> Iterator[None]:
    """Let requests arrive while the context lasts, in a thread; troubles are the listener's to notice."""
    stopped = threading.Event()
    runner = Runner(simulator, lister, say=lambda _: None, sleep=stopped.wait)
    thread = threading.Thread(target=runner.run, args=(stopped.is_set,), name="engines", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join(_END_SECONDS)


class Runner:
    """Moves time in small ticks, and follows the pods every second or so in a thread of its own.

    While the API server does not answer, the engines go on with the pods they had: so do real ones.
    """

    def __init__(
        self,
        simulator: Simulator,
        lister: PodLister,
        *,
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._simulator = simulator
        self._lister = lister
        self._say = say
        self._clock = clock
        self._sleep = sleep
        self._trouble = ""

    def run(self, stop: Callable[[], bool]) -> None:
        """Run until ``stop`` says so; the trace begins when the first look at the pods is over.

        Raises:
            EngineSimError: a workload's pods cannot be told.
        """
        config = self._simulator.config
        self.follow()
        stopped = threading.Event()
        watch = threading.Thread(target=self._watch, args=(stopped,), name="pods", daemon=True)
        watch.start()
        begin = self._clock()
        try:
            while not stop():
                self._simulator.advance(self._clock() - begin)
                self._sleep(config.tick_seconds)
        finally:
            stopped.set()
            watch.join(_LAST_LOOK_SECONDS)

    def _watch(self, stopped: threading.Event) -> None:
        while not stopped.wait(self._simulator.config.poll_seconds):
            try:
                self.follow()
            except EngineSimError as error:
                self._complain(str(error))

    def follow(self) -> None:
        """Look at the pods once."""
        try:
            for pool in self._simulator.config.pools:
                seen = {workload.name: self._lister.pods(pool, workload) for workload in pool.workloads}
                self._simulator.follow((pool.namespace, pool.name), seen)
        except (ApiException, HTTPError, OSError) as error:
            first_line, *_ = (str(error) or type(error).__name__).splitlines()
            self._complain(f"pods cannot be listed: {first_line}")
        else:
            if self._trouble:
                self._say("pods can be listed again")
            self._trouble = ""

    def _complain(self, trouble: str) -> None:
        if trouble != self._trouble:
            self._say(trouble)
        self._trouble = trouble
