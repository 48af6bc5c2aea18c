"""However pods come and go, no request is lost or counted twice."""

from typing import cast

from hypothesis import given, settings
from hypothesis import strategies as st

from enginesim.simulator import Simulator
from tests.unit.enginesim.worlds import NAME, SPLIT, WHOLE, pod, run, simulator, steady_trace

NAMES = ("a", "b", "c")
STATES = st.sampled_from(["absent", "ready", "unready"])
LOOKS = st.lists(st.dictionaries(st.sampled_from(NAMES), STATES, max_size=3), min_size=1, max_size=8)


def follow(simulated: Simulator, workloads: list[dict[str, object]], look: dict[str, str]) -> None:
    simulated.follow(
        NAME,
        {
            str(workload["name"]): [
                pod(f"{workload['name']}-{name}", ready=state == "ready")
                for name, state in look.items()
                if state != "absent"
            ]
            for workload in workloads
        },
    )


def check(simulated: Simulator) -> int:
    status = cast("list[dict[str, int]]", simulated.status()["pools"])[0]
    assert status["arrived"] == status["served"] + status["in_flight"] + status["refused"]
    text = simulated.metrics("serving/epp")
    assert text is not None
    return status["served"]


@settings(max_examples=25)
@given(looks=LOOKS, split=st.booleans(), holds_queue=st.booleans())
def test_every_request_is_served_once(*, looks: list[dict[str, str]], split: bool, holds_queue: bool) -> None:
    workloads = SPLIT if split else WHOLE
    trace = steady_trace(150, 0.05)
    simulated = simulator(workloads, gateway={"name": "epp", "holds_queue": holds_queue}, trace=trace)
    now, served = 0.0, 0
    for look in looks:
        follow(simulated, workloads, look)
        run(simulated, now + 1.0, begin_seconds=now)
        now += 1.0
        assert check(simulated) >= served
        served = check(simulated)
    follow(simulated, workloads, {"a": "ready", "b": "ready"})
    run(simulated, now + 60.0, begin_seconds=now)
    assert simulated.exhausted
    assert check(simulated) == len(trace)
