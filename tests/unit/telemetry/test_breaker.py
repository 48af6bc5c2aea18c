"""The circuit breaker, with time passed in."""

from forebay.telemetry.transport.breaker import Admission, Breaker, BreakerState


def breaker() -> Breaker:
    return Breaker(failures_to_open=2, cool_down_seconds=10.0, cool_down_max_seconds=30.0)


def test_it_opens_after_failures_in_a_row() -> None:
    one = breaker()
    one.failed(0.0)
    one.succeeded()
    one.failed(1.0)
    assert one.admit(1.0) is Admission.PASS
    one.failed(2.0)
    assert one.admit(2.0) is Admission.REFUSE
    assert one.retry_in_seconds(2.0) == 10.0


def test_one_probe_at_a_time() -> None:
    one = breaker()
    one.failed(0.0)
    one.failed(0.0)
    assert one.admit(10.0) is Admission.PROBE
    assert one.admit(10.0) is Admission.WAIT
    one.succeeded()
    assert one.admit(10.0) is Admission.PASS


def test_pauses_grow_to_a_limit_and_start_over() -> None:
    one = breaker()
    one.failed(0.0)
    one.failed(0.0)
    now, pauses = 0.0, []
    for _ in range(4):
        pause = one.retry_in_seconds(now)
        pauses.append(pause)
        now += pause
        assert one.admit(now) is Admission.PROBE
        one.failed(now)
    assert pauses == [10.0, 20.0, 30.0, 30.0]
    now += 30.0
    one.admit(now)
    one.succeeded()
    one.failed(now)
    one.failed(now)
    assert one.retry_in_seconds(now) == 10.0


def test_jitter_lengthens_a_pause_by_up_to_half() -> None:
    one = breaker()
    one.failed(0.0)
    one.failed(0.0, jitter=1.0)
    assert one.retry_in_seconds(0.0) == 15.0


def test_late_failures_of_queries_under_way_change_nothing() -> None:
    one = breaker()
    for _ in range(9):
        one.failed(0.0)
    assert one.state is BreakerState.OPEN
    assert one.retry_in_seconds(0.0) == 10.0


def test_a_probe_without_a_verdict_gives_way_to_the_next() -> None:
    one = breaker()
    one.failed(0.0)
    one.failed(0.0)
    assert one.admit(10.0) is Admission.PROBE
    one.probe_inconclusive(11.0)
    assert one.admit(11.0) is Admission.PROBE
