"""`/scale`: written only on change, while its count is what was decided on; every refusal has its name."""

from typing import Any

import pytest

from forebay.actuation.kube import KubeApi
from forebay.actuation.scale import ScaleResult, ScaleWriter
from forebay.actuation.targets import TargetDirectory, TargetRef, UnknownKindError

CHAT = TargetRef("serving", "apps/v1", "Deployment", "chat")
PATH = "/apis/apps/v1/namespaces/serving/deployments/chat/scale"


@pytest.fixture
def writer(api: KubeApi, clock: Any) -> ScaleWriter:
    return ScaleWriter(api, TargetDirectory(api), clock)


@pytest.mark.parametrize(("current", "tested"), [(2, {"replicas": 2}), (0, {})])
async def test_a_write_holds_only_while_the_count_is_the_decisions_basis(
    server: Any, writer: ScaleWriter, current: int, tested: dict[str, int]
) -> None:
    """Protects: a lock on the whole object lost to each status write, six scale-outs of six in a rollout."""
    server.on("PATCH", PATH, 200, {})
    outcome = await writer.scale(CHAT, 3, current=current)
    assert outcome.result is ScaleResult.WRITTEN
    (asked,) = server.asked
    assert asked.headers["Content-Type"] == "application/json-patch+json"
    assert asked.body == [
        {"op": "test", "path": "/spec", "value": tested},
        {"op": "add", "path": "/spec/replicas", "value": 3},
    ]


async def test_a_count_that_was_never_set_is_set_without_a_test(server: Any, writer: ScaleWriter) -> None:
    server.on("PATCH", PATH, 200, {})
    await writer.scale(CHAT, 3, current=None)
    assert server.asked[0].body == {"spec": {"replicas": 3}}


async def test_nothing_is_sent_where_the_count_is_right(server: Any, writer: ScaleWriter) -> None:
    outcome = await writer.scale(CHAT, 2, current=2)
    assert outcome.result is ScaleResult.UNCHANGED
    assert server.asked == []


@pytest.mark.parametrize(
    ("status", "result"),
    [
        (409, ScaleResult.CONFLICT),
        (422, ScaleResult.CONFLICT),
        (404, ScaleResult.NOT_FOUND),
        (403, ScaleResult.FORBIDDEN),
        (500, ScaleResult.FAILED),
    ],
)
async def test_each_refusal_has_its_name(
    server: Any, writer: ScaleWriter, status: int, result: ScaleResult
) -> None:
    server.on("PATCH", PATH, status, {"message": "no"})
    assert (await writer.scale(CHAT, 3, current=2)).result is result


async def test_a_busy_server_is_left_alone_for_as_long_as_it_asked(
    server: Any, writer: ScaleWriter, clock: Any
) -> None:
    server.on("PATCH", PATH, 429, {}, **{"Retry-After": "5"})
    server.on("PATCH", PATH, 200, {})
    assert (await writer.scale(CHAT, 3, current=2)).result is ScaleResult.THROTTLED
    clock.now += 4.0
    assert (await writer.scale(CHAT, 3, current=2)).result is ScaleResult.THROTTLED
    assert len(server.asked) == 1
    clock.now += 1.5
    assert (await writer.scale(CHAT, 3, current=2)).result is ScaleResult.WRITTEN


async def test_zero_replicas_are_left_out_of_the_answer(server: Any, writer: ScaleWriter) -> None:
    server.on("GET", PATH, 200, {"metadata": {"resourceVersion": "7"}, "spec": {}, "status": {"selector": "a=b"}})
    scale = await writer.read(CHAT)
    assert (scale.replicas, scale.resource_version, scale.selector) == (0, "7", "a=b")


async def test_unset_replicas_are_no_outage(server: Any, writer: ScaleWriter) -> None:
    message = "the spec replicas field .spec.replicas does not exist"
    server.on("GET", PATH, 500, {"message": message})
    assert (await writer.read(CHAT)).replicas is None


async def test_other_kinds_are_found_by_discovery(server: Any, writer: ScaleWriter) -> None:
    group = TargetRef("serving", "leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet", "big")
    found = [
        {"name": "leaderworkersets", "kind": "LeaderWorkerSet"},
        {"name": "leaderworkersets/scale", "kind": "Scale"},
    ]
    server.on("GET", "/apis/leaderworkerset.x-k8s.io/v1", 200, {"resources": found})
    path = "/apis/leaderworkerset.x-k8s.io/v1/namespaces/serving/leaderworkersets/big/scale"
    server.on("PATCH", path, 200, {})
    for replicas in (2, 3):
        outcome = await writer.scale(group, replicas, current=1)
        assert outcome.result is ScaleResult.WRITTEN
    assert [asked.path for asked in server.asked].count("/apis/leaderworkerset.x-k8s.io/v1") == 1


@pytest.mark.parametrize(
    ("resources", "sentence"),
    [
        (None, "install the CRD"),
        ([], "has no kind Thing"),
        ([{"name": "things", "kind": "Thing"}], "no /scale subresource"),
    ],
)
async def test_a_kind_that_cannot_be_scaled_is_told_what_to_change(
    server: Any, api: KubeApi, resources: list[object] | None, sentence: str
) -> None:
    if resources is not None:
        server.on("GET", "/apis/example.com/v1", 200, {"resources": resources})
    with pytest.raises(UnknownKindError, match=sentence):
        await TargetDirectory(api).resolve(TargetRef("a", "example.com/v1", "Thing", "x"))
