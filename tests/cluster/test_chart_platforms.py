"""What platforms demand of pods, checked on the values examples for them."""

from typing import Any

from tests.cluster.chart_helm import CHART, container, environment, render


def pods(example: str) -> list[dict[str, Any]]:
    """Return the specs of all pods that an example renders, the test's included."""
    documents = render(None, "-f", str(CHART / "examples" / f"{example}.yaml"))
    specs = [item["spec"]["template"]["spec"] for item in documents if item["kind"] == "Deployment"]
    return specs + [item["spec"] for item in documents if item["kind"] == "Pod"]


def test_openshift_chooses_the_users_itself() -> None:
    """The SCC restricted-v2 refuses user ids outside the namespace's range, and demands the rest."""
    found = pods("openshift")
    assert len(found) >= 2
    for spec in found:
        context = spec["securityContext"]
        assert {"runAsUser", "runAsGroup", "fsGroup"}.isdisjoint(context)
        assert (context["runAsNonRoot"], context["seccompProfile"]) == (True, {"type": "RuntimeDefault"})
        for each in spec["containers"]:
            assert each["securityContext"]["allowPrivilegeEscalation"] is False
            assert each["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert not any("hostPath" in volume for volume in spec.get("volumes", ()))


def test_autopilot_finds_requests_that_are_limits() -> None:
    """Autopilot changes requests that are below its least, and limits that differ from them."""
    documents = render(None, "-f", str(CHART / "examples" / "gke-autopilot.yaml"))
    resources = container(documents)["resources"]
    assert resources["requests"] == resources["limits"]
    assert {"cpu", "memory", "ephemeral-storage"} == resources["requests"].keys()
    (spec, *_) = pods("gke-autopilot")
    assert not spec.get("hostNetwork")
    assert not any("hostPath" in volume for volume in spec["volumes"])


def test_nothing_is_written_but_to_volumes_and_all_traffic_is_named() -> None:
    documents = render(None, "-f", str(CHART / "examples" / "private-network.yaml"))
    (spec, *_) = pods("private-network")
    operator = container(documents)
    assert operator["securityContext"]["readOnlyRootFilesystem"] is True
    writable = {mount["name"] for mount in operator["volumeMounts"] if not mount.get("readOnly")}
    kinds = {volume["name"]: set(volume) - {"name"} for volume in spec["volumes"]}
    assert all(kinds[name] == {"emptyDir"} for name in writable)
    assert environment(documents)["FOREBAY_PROMETHEUS_PROXY"] == "http://proxy.internal:3128"
    (policy,) = (item for item in documents if item["kind"] == "NetworkPolicy")
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
