"""Compiled and plain Python give the same run, to the last bit."""

import subprocess
import sys
import weakref
from types import SimpleNamespace

import numpy as np
import pytest

from forebay.flow.trace import RequestTrace
from forebay.offline.simulation import QueueOrder, SimulatedPool, SimulationOptions, SimulationResult, accelerate
from tests.keys import decode, prefill, serve
from tests.unit.simulation.builders import PLAIN, disaggregated, mixed, poisson

P, D, S = prefill("p"), decode("d"), serve("s")


def _busy_run(trace: RequestTrace, *, plain: bool) -> SimulationResult:
    options = SimulationOptions(
        queue_order=QueueOrder.LATE_LAST,
        preemption=True,
        queue_timeout_seconds=5.0,
        retries=1,
        mean_seconds_between_failures=100.0,
        log_replicas=True,
    )
    simulated = SimulatedPool(
        disaggregated(),
        trace,
        initial={P: 2, D: 1},
        options=options,
        functions=PLAIN if plain else None,
        priority=np.arange(len(trace)) % 2,
    )
    for step in range(1, 13):
        simulated.run_until(step * 10)
        simulated.scale({P: 1 + step % 4, D: 1 + step % 2})
    return simulated.result()


@pytest.mark.skipif(not accelerate.COMPILED, reason="numba is not installed: there is only plain Python")
def test_compiled_and_plain_python_agree_to_the_last_bit() -> None:
    trace = poisson(4_000, 50.0)

    compiled, plain = _busy_run(trace, plain=False), _busy_run(trace, plain=True)

    np.testing.assert_array_equal(compiled.done_seconds, plain.done_seconds)
    np.testing.assert_array_equal(compiled.ttft_seconds, plain.ttft_seconds)
    assert compiled.replica_seconds == plain.replica_seconds
    assert compiled.failures == plain.failures > 0
    assert compiled.timed_out == plain.timed_out > 0


@pytest.mark.skipif(not accelerate.COMPILED, reason="numba is not installed: there is only plain Python")
def test_serve_replicas_agree_too() -> None:
    trace = poisson(500, 20.0)
    results = []
    for functions in (None, PLAIN):
        simulated = SimulatedPool(mixed(), trace, initial={S: 2}, functions=functions)
        simulated.run_until(100)
        results.append(simulated.result())

    np.testing.assert_array_equal(results[0].done_seconds, results[1].done_seconds)


def test_the_key_of_the_compiled_code_follows_the_code() -> None:
    def one() -> int:
        return 1

    def two() -> int:
        return 2

    before = accelerate.fingerprint({"f": one, "LIMIT": 3})

    assert before == accelerate.fingerprint({"f": one, "LIMIT": 3})
    assert before != accelerate.fingerprint({"f": two, "LIMIT": 3})
    assert before != accelerate.fingerprint({"f": one, "LIMIT": 4})


def test_it_runs_where_numba_is_not_installed() -> None:
    trace = poisson(300, 20.0)
    simulated = SimulatedPool(disaggregated(), trace, initial={P: 2, D: 1}, functions=PLAIN)
    simulated.run_until(60.0)
    script = """
import sys
sys.modules["numba"] = None  # importing it raises ImportError
from forebay.offline.simulation import SimulatedPool, accelerate
from tests.keys import decode, prefill
from tests.unit.simulation.builders import disaggregated, poisson
assert not accelerate.COMPILED
simulated = SimulatedPool(disaggregated(), poisson(300, 20.0), initial={prefill("p"): 2, decode("d"): 1})
simulated.run_until(60.0)
print(repr(float(simulated.result().done_seconds.sum())))
"""

    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)

    assert float(answer.stdout) == float(simulated.result().done_seconds.sum())


def test_it_compiles_without_a_cache_where_no_directory_can_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    numba = pytest.importorskip("numba")

    def njit(**flags: object) -> object:
        if "_nrt" in flags:
            raise KeyError("Unrecognized options")
        if flags.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return numba.njit(**flags)

    monkeypatch.setattr(accelerate, "numba", SimpleNamespace(njit=njit))

    def add(numbers: tuple[int, int]) -> int:
        return numbers[0] + numbers[1]

    compiled = accelerate.compiled_entry(add)

    assert compiled((1, 2)) == 3
    assert hasattr(compiled, "py_func")


def test_a_run_is_forgotten_as_soon_as_nobody_needs_it() -> None:
    # A replay makes hundreds of runs of hundreds of megabytes: they must not wait for the garbage collector.
    simulated = SimulatedPool(disaggregated(), poisson(50, 20.0), initial={P: 2, D: 1}, functions=PLAIN)
    simulated.run_until(1.0)
    simulated.scale({P: 3})
    simulated.observe()
    replicas = weakref.ref(simulated.replicas)

    del simulated

    assert replicas() is None
