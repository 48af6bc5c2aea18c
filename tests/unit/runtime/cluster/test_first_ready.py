"""What a pod teaches depends on how it was met: starting, not Ready for long, or Ready already."""

import pytest

from forebay.runtime.cluster.leadtime import LeadTimeBook, PodTimes

DEADLINE = 900.0
HOURS = 3600.0


def pod(ready: float | None, *, uid: str = "a", scheduled: float | None = 0.0, **more: object) -> PodTimes:
    """Return a pod created at 0 on a node that was there before."""
    given = {"created_seconds": 0.0, "restarted": False, "node_created_seconds": -10.0, **more}
    return PodTimes(uid=uid, scheduled_seconds=scheduled, ready_seconds=ready, **given)  # type: ignore[arg-type]


def see(book: LeadTimeBook, seen: PodTimes, now: float, *, variant: str = "v") -> None:
    book.see(seen, variant=variant, node_pool="h100", now_seconds=now, shortest_deadline_seconds=DEADLINE)


@pytest.mark.parametrize("scheduled", [None, 0.0])
def test_a_pod_that_was_watched_while_it_started_teaches_however_long_it_took(scheduled: float | None) -> None:
    book = LeadTimeBook()
    see(book, pod(None, scheduled=scheduled), 10.0)
    see(book, pod(2 * HOURS), 2 * HOURS + 10.0)
    assert book.of_variant("v").count == 1
    assert book.of_variant("v").quantiles().p50_seconds > 500.0


def test_a_pod_that_waited_for_hours_for_its_node_was_watched_and_teaches_both_phases() -> None:
    book = LeadTimeBook()
    see(book, pod(None, scheduled=None), 10 * HOURS)
    came = pod(11 * HOURS + 60.0, scheduled=11 * HOURS, node_created_seconds=10.9 * HOURS)
    see(book, came, 12 * HOURS)
    assert (book.of_variant("v").count, book.of_node_pool("h100").count) == (1, 1)


def test_a_pod_that_is_ready_when_first_seen_teaches_what_a_start_can_take() -> None:
    book = LeadTimeBook()
    see(book, pod(DEADLINE), 10 * HOURS)
    assert book.of_variant("v").count == 1


def test_readiness_that_flapped_before_the_pod_was_first_seen_is_no_start_up() -> None:
    """Protects: a probe that failed once at the age of ten hours taught a start-up of 36,000 s at each restart."""
    book = LeadTimeBook()
    before = book.of_variant("v").quantiles()
    see(book, pod(10 * HOURS), 10 * HOURS + 60.0)
    assert book.of_variant("v").quantiles() == before
    assert book.knows("v", "a"), "nor will it be, when it flaps again"


def test_readiness_that_is_lost_when_the_pod_is_first_seen_is_no_start() -> None:
    """Protects: of a pod older than its deadline nobody knows whether it was Ready before the process began."""
    book = LeadTimeBook()
    see(book, pod(None), 10 * HOURS)
    see(book, pod(10 * HOURS + 30.0), 10 * HOURS + 60.0)
    assert book.of_variant("v").count == 0


def test_readiness_that_flaps_after_it_was_learned_from_teaches_nothing() -> None:
    book = LeadTimeBook()
    for ready, now in ((None, 10.0), (60.0, 70.0), (None, 9 * HOURS), (10 * HOURS, 10 * HOURS)):
        see(book, pod(ready), now)
    assert book.of_variant("v").count == 1
    assert book.of_variant("v").quantiles().p50_seconds < 90.0


def test_a_declared_start_up_moves_what_is_believed() -> None:
    book = LeadTimeBook()
    book.of_variant("v", 1200.0)
    see(book, pod(1500.0), 10 * HOURS)
    assert book.of_variant("v", 1200.0).count == 1


def test_pods_of_before_a_recall_do_not_teach_the_node_pool_again_and_later_ones_do() -> None:
    """Protects: each restart taught the living pods' node lead times on top of what the status had restored."""
    book = LeadTimeBook()
    book.of_node_pool("h100").restore(p50_seconds=60.0, p90_seconds=90.0, samples=40, at_seconds=1000.0)
    old = pod(400.0, scheduled=300.0, node_created_seconds=200.0)
    see(book, old, 1000.0)
    assert (book.of_variant("v").count, book.of_node_pool("h100").count) == (1, 40)
    times = {"created_seconds": 1010.0, "node_created_seconds": 1050.0}
    see(book, pod(1090.0, uid="b", scheduled=1080.0, **times), 1100.0)
    assert (book.of_variant("v").count, book.of_node_pool("h100").count) == (2, 41)


def test_a_pod_that_was_starting_at_the_recall_teaches_the_node_pool() -> None:
    book = LeadTimeBook()
    book.of_node_pool("h100").restore(p50_seconds=60.0, p90_seconds=90.0, samples=40, at_seconds=1000.0)
    see(book, pod(None, scheduled=None), 1000.0)
    see(book, pod(1100.0, scheduled=1050.0, node_created_seconds=1020.0), 1110.0)
    assert book.of_node_pool("h100").count == 41


def test_what_cannot_be_a_wait_for_a_node_is_not_believed_of_a_pod_that_was_not_watched() -> None:
    """Protects: a pod held for a day by a quota, or by a person, looks as if its node had taken a day."""
    book = LeadTimeBook()
    held = pod(10 * HOURS + 60.0, scheduled=10 * HOURS, node_created_seconds=9.9 * HOURS)
    see(book, held, 12 * HOURS)
    assert (book.of_variant("v").count, book.of_node_pool("h100").count) == (1, 0)


def test_variants_that_share_a_workload_learn_each_and_their_node_pool_once() -> None:
    book = LeadTimeBook()
    seen = pod(400.0, scheduled=300.0, node_created_seconds=200.0)
    for variant in ("v", "w"):
        see(book, seen, 500.0, variant=variant)
    assert (book.of_variant("v").count, book.of_variant("w").count) == (1, 1)
    assert book.of_node_pool("h100").count == 1


def test_what_is_gone_is_forgotten_and_what_comes_back_begins_afresh() -> None:
    """Protects: estimators of every variant and node pool that ever was stayed for the life of the process."""
    book = LeadTimeBook()
    for variant in ("v", "w"):
        see(book, pod(400.0, scheduled=300.0, node_created_seconds=200.0), 500.0, variant=variant)
    book.of_node_pool("")
    book.keep_only(variants={"w"}, node_pools={""})
    assert (list(book.start_up), list(book.node)) == (["w"], [""])
    assert not book.knows("v", "a")
    assert book.knows("w", "a")
    see(book, pod(400.0, scheduled=300.0, node_created_seconds=200.0), 500.0)
    assert book.of_variant("v").count == 1
    assert book.of_node_pool("h100").count == 0, "the pod has taught it once"


def test_pods_that_are_gone_are_forgotten() -> None:
    book = LeadTimeBook()
    for uid in ("a", "b"):
        see(book, pod(400.0, uid=uid, scheduled=300.0, node_created_seconds=200.0), 500.0)
    book.forget_others(["b"])
    assert book._taught_node == {"b"}
    assert not book.knows("v", "a")
    assert book.knows("v", "b")
