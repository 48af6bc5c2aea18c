"""Our KWOK stages are in the form that KWOK reads, and agree with what nodes and pods say."""

import re

import pytest
import yaml

from devcluster import stages
from devcluster.gpu import ColdStart


def _rendered() -> dict[str, dict[str, object]]:
    return {stage["metadata"]["name"]: stage["spec"] for stage in yaml.safe_load_all(stages.render())}


def test_the_stages_of_a_cold_start_are_there() -> None:
    assert set(_rendered()) == {
        "node-ready",
        "node-gpus",
        "node-lost",
        "pod-starting",
        "pod-image-pulled",
        "pod-model-loaded",
        "pod-gone",
    }


def test_delays_are_in_the_form_that_kwok_reads() -> None:
    for spec in _rendered().values():
        delay = spec.get("delay", {"durationFrom": {}, "durationMilliseconds": 0})
        assert isinstance(delay, dict)
        assert set(delay) == {"durationFrom", "durationMilliseconds"}


def test_every_setting_that_a_cold_start_writes_is_read_by_a_stage_and_the_other_way_round() -> None:
    read = set(re.findall(re.escape(stages.PREFIX) + r"([a-z-]+-seconds)", stages.render()))
    cold_start = ColdStart()
    written = {
        name.removeprefix(stages.PREFIX) for name in cold_start.node_annotations() | cold_start.pod_annotations()
    }
    assert written - read == set()
    assert read - written == {"termination-jitter-seconds"}


def test_the_delay_counts_from_a_time_of_the_object_and_not_from_its_last_change() -> None:
    expression = stages.delay_expression(
        {"since": ".status.startTime", "setting": "image-pull", "defaultSeconds": 4}
    )
    assert expression.startswith("[(((.status.startTime) | fromdateiso8601) + 0.5")
    assert '["devcluster.forebay.io/image-pull-seconds"] // "4" | tonumber' in expression


def test_a_setting_that_nobody_writes_is_refused() -> None:
    with pytest.raises(ValueError, match="'imagepull', which is none of node-ready"):
        stages.delay_expression({"since": ".x", "setting": "imagepull", "defaultSeconds": 1})
