"""Waiting for a cluster to become what a test expects, with a failure that tells what it was instead."""

import time
from collections.abc import Callable
from typing import TypeVar

from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from devcluster.errors import KubectlError

T = TypeVar("T")

_PAUSE_SECONDS = 0.1
_HISTORY = 8
#: What a check may run into while a cluster is on its way; anything else is a mistake in the test.
PASSING_TROUBLES = (AssertionError, ApiException, KubectlError, HTTPError, ConnectionError, TimeoutError)


def eventually(
    check: Callable[[], T],
    *,
    timeout_seconds: float = 120.0,
    describe: str | Callable[[], str] = "",
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> T:
    """Call `check` until it passes, and return what it returns.

    A check passes when it returns anything but False. Write it with `assert got == expected`: the failure then
    ends with pytest's diff of the last look, after the different states that were seen on the way.

    Args:
        check: looks once; may raise `PASSING_TROUBLES`.
        timeout_seconds: how long to go on.
        describe: what is awaited, or a function that describes the cluster's state when it did not come.
        clock: seconds that only go forward.
        sleep: pauses.

    Raises:
        AssertionError: it did not pass in time.
    """
    started = clock()
    seen: list[tuple[float, str]] = []
    while True:
        trouble = ""
        try:
            answer = check()
        except PASSING_TROUBLES as error:
            trouble = f"{type(error).__name__}: {error}"
        else:
            if answer is not False:
                return answer
            trouble = "the check returned False"
        elapsed = clock() - started
        if not seen or seen[-1][1] != trouble:
            seen.append((elapsed, trouble))
        if elapsed >= timeout_seconds:
            raise AssertionError(_failure(seen, timeout_seconds, describe))
        sleep(_PAUSE_SECONDS)


def _failure(seen: list[tuple[float, str]], timeout_seconds: float, describe: str | Callable[[], str]) -> str:
    what = describe() if callable(describe) else describe
    lines = [f"not within {timeout_seconds:g} s" + (f": {what}" if what else "")]
    *before, (last_at, last) = seen
    if before:
        lines.append("seen on the way:")
        lines += [f"  {at:6.1f} s  {text.splitlines()[0][:160]}" for at, text in before[-_HISTORY:]]
    lines += [f"at the end, since {last_at:.1f} s:", last]
    return "\n".join(lines)
