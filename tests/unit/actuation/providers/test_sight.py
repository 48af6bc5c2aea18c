"""How far each node is, from the order to the end."""

from forebay.actuation.providers.sight import InState, MachineClaim, NodeState, ProviderSight, node_states
from tests.unit.actuation.providers.scenes import NOW, node


def test_every_node_is_in_one_state_and_the_oldest_tells_since_when() -> None:
    nodes = [
        node("usable", ready_seconds=NOW - 50),
        node("older", ready_seconds=NOW - 90),
        node("booting", usable=False, created_seconds=NOW - 60),
        node("broken", usable=False, created_seconds=NOW - 5000),
        node("cordoned", leaving=True),
        node("tainted", usable=False, leaving=True, going=True),
    ]
    claims = (
        MachineClaim(name="known", created_seconds=NOW - 100, launched_seconds=NOW - 99, node="booting"),
        MachineClaim(name="bought", created_seconds=NOW - 30, launched_seconds=NOW - 29),
        MachineClaim(name="asked", created_seconds=NOW - 2),
        MachineClaim(name="withdrawn", created_seconds=NOW - 3, leaving=True),
        MachineClaim(name="lost", created_seconds=NOW - 5000, launched_seconds=NOW - 4999),
    )
    states = node_states(nodes, ProviderSight(claims=claims), now_seconds=NOW, patience_seconds=900.0)
    assert states.by_state == {
        NodeState.REQUESTED: InState(1, NOW - 2),
        NodeState.LAUNCHED: InState(1, NOW - 29),
        NodeState.REGISTERED: InState(1, NOW - 60),
        NodeState.USABLE: InState(2, NOW - 90),
        NodeState.DRAINING: InState(2, None),
        NodeState.STUCK: InState(2, NOW - 5000),
    }
    assert (states.coming, states.paid) == (2, 8)


def test_a_number_that_the_provisioner_has_not_begun_with_is_requested() -> None:
    states = node_states([node("a")], ProviderSight(asked=3), now_seconds=NOW, patience_seconds=900.0)
    assert states.count(NodeState.REQUESTED) == 2
    fewer = node_states([node("a"), node("b")], ProviderSight(asked=1), now_seconds=NOW, patience_seconds=900.0)
    assert fewer.count(NodeState.REQUESTED) == 0
