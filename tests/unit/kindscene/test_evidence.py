"""A failure's evidence is complete even where half of the cluster does not answer."""

from typing import Any

from devcluster.cluster import Cluster
from devcluster.errors import KubectlError
from kindscene import evidence
from tests.unit.kindscene.worlds import FakeCluster


class _Deaf(FakeCluster):
    def kubectl(self, *arguments: str, **_options: Any) -> str:
        if "events" in arguments:
            raise KubectlError(1, list(arguments), stderr="the server is on fire")
        return super().kubectl(*arguments)


def test_every_file_has_its_text_or_the_complaint() -> None:
    deaf: Any = _Deaf()
    deaf.said["get nodes"] = "kind: List"
    cluster: Cluster = deaf
    files = evidence.artifacts(cluster)
    assert set(files) == set(evidence.ARTIFACTS)
    assert files["nodes.yaml"] == "kind: List"
    assert "the server is on fire" in files["events.txt"]


def test_the_story_has_a_title_for_each_part() -> None:
    quiet: Any = FakeCluster()
    assert [line for line in evidence.story(quiet).splitlines() if line] == [
        f"--- {title}" for title in evidence.STORY
    ]
