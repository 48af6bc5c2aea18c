"""Waiting for a cluster ends with what was awaited, or with what was seen instead."""

import itertools

import pytest

from devcluster.waiting import eventually


class Time:
    """A clock that goes forward when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_the_answer_of_the_first_look_that_passes_is_returned() -> None:
    time, looks = Time(), itertools.count()

    def check() -> int:
        look = next(looks)
        assert look >= 3
        return look

    assert eventually(check, clock=lambda: time.now, sleep=time.sleep) == 3


def test_false_is_a_look_that_did_not_pass() -> None:
    time = Time()
    with pytest.raises(AssertionError, match="the check returned False"):
        eventually(lambda: False, timeout_seconds=1, clock=lambda: time.now, sleep=time.sleep)


def test_the_failure_tells_what_was_seen_on_the_way_and_shows_the_last_difference() -> None:
    time = Time()

    def check() -> None:
        got = {"ready": 1 if time.now < 2 else 2}
        assert got == {"ready": 3}

    with pytest.raises(AssertionError) as failure:
        eventually(check, timeout_seconds=5, describe="three ready", clock=lambda: time.now, sleep=time.sleep)
    message = str(failure.value)
    assert message.startswith("not within 5 s: three ready\nseen on the way:\n     0.0 s  ")
    assert "{'ready': 2} == {'ready': 3}" in message.split("at the end, since 2.0 s:")[1]


def test_a_mistake_in_the_check_is_not_waited_for() -> None:
    names: dict[str, str] = {}
    with pytest.raises(KeyError):
        eventually(lambda: names["typo"])
