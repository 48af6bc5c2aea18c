"""Keep a simulator in step with the wall clock and the cluster's pods."""

import time
from collections.abc import Callable

from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from enginesim.pods import PodLister
from enginesim.simulator import Simulator


class Runner:
    """Moves time in small ticks and follows the pods every second or so.

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
        """Run until ``stop`` says so; the trace begins when the first look at the pods is over."""
        config = self._simulator.config
        self.follow()
        begin = self._clock()
        next_look = begin + config.poll_seconds
        while not stop():
            now = self._clock()
            self._simulator.advance(now - begin)
            if now >= next_look:
                self.follow()
                next_look = now + config.poll_seconds
            self._sleep(config.tick_seconds)

    def follow(self) -> None:
        """Look at the pods once."""
        try:
            for pool in self._simulator.config.pools:
                seen = {workload.name: self._lister.pods(pool, workload) for workload in pool.workloads}
                self._simulator.follow((pool.namespace, pool.name), seen)
        except (ApiException, HTTPError, OSError) as error:
            first_line, *_ = (str(error) or type(error).__name__).splitlines()
            trouble = f"pods cannot be listed: {first_line}"
            if trouble != self._trouble:
                self._say(trouble)
            self._trouble = trouble
        else:
            if self._trouble:
                self._say("pods can be listed again")
            self._trouble = ""
