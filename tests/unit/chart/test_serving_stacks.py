"""The page on serving stacks has every kind of workload, and what it says of each is what the table says."""

from pathlib import Path

import pytest

from forebay.flow.kinds import KINDS, RemovalOrder, WorkloadKind

PAGE = (Path(__file__).parents[3] / "docs" / "serving-stacks.md").read_text()
ROWS = [line for line in PAGE.splitlines() if line.startswith("| ") and "`" in line]


@pytest.mark.parametrize("kind", KINDS, ids=lambda row: row.kind)
def test_each_kind_has_a_row(kind: WorkloadKind) -> None:
    (row,) = [line for line in ROWS if f"`{kind.kind}`" in line.split("|")[2] and "child" not in line]
    removed = row.split("|")[4]
    words = {
        RemovalOrder.REPLICA_SET: ("deletion cost", "as a Deployment"),
        RemovalOrder.HIGHEST_ORDINAL: ("highest",),
        RemovalOrder.UNKNOWN: ("not known",),
    }[kind.removal]
    assert any(word in removed for word in words)
    assert ("Never below 1" in removed) is (kind.lowest == 1)
    assert ("size" in row.split("|")[3]) is (kind.group is not None)
