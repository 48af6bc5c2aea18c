"""One active writer: taken after silence on our own clock, lost before anybody else may take it."""

from typing import Any

import pytest

from forebay.actuation.kube import ApiError
from forebay.runtime.leader import Leader, LeaseLostError, LeaseTimes

PATH = "/apis/coordination.k8s.io/v1/namespaces/system/leases/forebay"
TIMES = LeaseTimes(duration=15.0, renew_deadline=10.0, retry=2.0)


def candidate(api: Any, clock: Any, name: str) -> Leader:
    return Leader(
        api, namespace="system", name="forebay", identity=name, times=TIMES, clock=clock, jitter=lambda: 0.0
    )


async def test_the_first_candidate_creates_the_lease_and_may_write(memory_api: Any, clock: Any) -> None:
    leader = candidate(memory_api, clock, "a")
    with pytest.raises(LeaseLostError):
        leader.fence()
    await leader._step()
    leader.fence()
    assert leader.is_leading.is_set()
    assert memory_api.objects[PATH]["spec"]["holderIdentity"] == "a"


async def test_the_right_to_write_ends_before_the_lease_can_be_taken(memory_api: Any, clock: Any) -> None:
    """The heart of the fence: at no moment may two processes write."""
    first, second = candidate(memory_api, clock, "a"), candidate(memory_api, clock, "b")
    await first._step()
    await second._step()  # sees the lease; its own clock starts
    clock.now += 10.0
    with pytest.raises(LeaseLostError):
        first.fence()
    await second._step()
    assert not second.is_leading.is_set()
    clock.now += 5.0
    await second._step()
    second.fence()
    assert memory_api.objects[PATH]["spec"]["leaseTransitions"] == 1
    with pytest.raises(LeaseLostError):
        first.fence()


async def test_a_renewed_lease_is_never_taken_whatever_its_clock_says(memory_api: Any, clock: Any) -> None:
    first, second = candidate(memory_api, clock, "a"), candidate(memory_api, clock, "b")
    await first._step()
    memory_api.objects[PATH]["spec"]["renewTime"] = "1999-01-01T00:00:00.000000Z"
    for _ in range(20):
        clock.now += 4.0
        await first._step()
        await second._step()
    first.fence()
    assert not second.is_leading.is_set()


async def test_the_lease_counts_from_before_the_renewal_was_sent(memory_api: Any, clock: Any) -> None:
    """A slow answer must not prolong the right to write."""
    leader = candidate(memory_api, clock, "a")
    await leader._step()
    original = memory_api.request

    async def slow(*args: Any, **kwargs: Any) -> Any:
        clock.now += 3.0
        return await original(*args, **kwargs)

    memory_api.request = slow
    started = clock.now
    await leader._step()
    clock.now = started + 9.9
    leader.fence()
    clock.now = started + 10.0
    with pytest.raises(LeaseLostError):
        leader.fence()


async def test_of_two_candidates_for_a_free_lease_one_wins(memory_api: Any, clock: Any) -> None:
    first, second = candidate(memory_api, clock, "a"), candidate(memory_api, clock, "b")
    await first._step()
    await first.release()
    await second._step()
    second.fence()
    await first._step()
    assert not first.is_leading.is_set()


async def test_failed_renewals_are_tried_again_until_the_deadline(memory_api: Any, clock: Any) -> None:
    leader = candidate(memory_api, clock, "a")
    await leader._step()
    memory_api.failures = [ApiError("down", status=0)] * 3
    for _ in range(3):
        clock.now += 2.0
        await leader._step()
    leader.fence()
    clock.now += 2.0
    await leader._step()
    clock.now += 9.9
    leader.fence()


async def test_run_raises_when_the_lease_could_not_be_renewed(
    memory_api: Any, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    leader = candidate(memory_api, clock, "a")

    async def sleep(seconds: float) -> None:
        clock.now += seconds
        memory_api.failures = [ApiError("down", status=0)]

    monkeypatch.setattr("forebay.runtime.leader.asyncio.sleep", sleep)
    with pytest.raises(LeaseLostError, match="could not be renewed for 10 s"):
        await leader.run()


async def test_a_lease_taken_by_another_is_lost_at_once(memory_api: Any, clock: Any) -> None:
    leader = candidate(memory_api, clock, "a")
    await leader._step()
    memory_api.objects[PATH]["spec"]["holderIdentity"] = "thief"
    with pytest.raises(LeaseLostError, match="taken by thief"):
        await leader._step()
    with pytest.raises(LeaseLostError):
        leader.fence()


async def test_an_edited_annotation_is_no_loss(memory_api: Any, clock: Any) -> None:
    leader = candidate(memory_api, clock, "a")
    await leader._step()
    original = memory_api._put

    def race(path: str, body: Any) -> Any:
        memory_api._put = original
        memory_api.objects[path]["metadata"]["resourceVersion"] = "edited"
        return original(path, body)

    memory_api._put = race
    await leader._step()
    leader.fence()


async def test_release_lets_another_in_without_waiting(memory_api: Any, clock: Any) -> None:
    first, second = candidate(memory_api, clock, "a"), candidate(memory_api, clock, "b")
    await first._step()
    await second._step()
    await first.release()
    with pytest.raises(LeaseLostError):
        first.fence()
    await second._step()
    second.fence()
