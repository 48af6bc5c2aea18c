"""The command line: help that helps, exit codes as documented, explanations in plain words."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner

from forebay.actuation.kube import ApiError
from forebay.cli import main as module
from forebay.cli.explain import _ask_operators
from forebay.cli.explanation import Explanation, as_text
from forebay.cli.main import cli
from forebay.flow.fleet import PoolKey
from forebay.parameters import DURATION, HEADER
from forebay.runtime.settings import OperatorSettings
from forebay.runtime.sources import prometheus_settings

CONDITIONS = [
    {"type": "Ready", "status": "True", "reason": "AsRecommended", "message": "fine"},
    {"type": "Conflicted", "status": "True", "reason": "OtherWriter", "message": "An HPA does, too."},
    {"type": "ScalingLimited", "status": "False", "reason": "WithinLimits", "message": "none"},
]
RESOURCE: dict[str, Any] = {
    "spec": {"mode": "Recommend"},
    "status": {
        "summary": {"replicas": "P 2/2 D 3/4", "recommended": "P 3 D 4", "demand": "12 -> 16/s"},
        "message": "prefill needs 3 replicas.",
        "costPerHour": "12.50",
        "conditions": CONDITIONS,
        "lastDecision": {
            "time": "t",
            "reason": "Sized",
            "message": "more load",
            "changes": ["prefill/h100 2 -> 3"],
        },
    },
}
RECORD: dict[str, Any] = {
    "mode": "Recommend",
    "decision": {
        "at_seconds": 1_795_132_800.0,
        "reasons": [
            {"step": "forecast", "code": "Ahead", "message": "16/s are expected.", "changed": False, "role": None},
            {"step": "size", "code": "Sized", "message": "3 replicas.", "changed": True, "role": "prefill"},
        ],
        "alternatives": [
            {
                "description": "2 replicas",
                "usd_per_hour": 5.0,
                "expected_miss_share": 0.123,
                "why_not": "misses cost more",
            }
        ],
    },
    "actions": [{"target": "Deployment a/b", "from": 2, "to": 3, "result": "Written", "message": "done."}],
}


def explanation(**changes: Any) -> Explanation:
    given = {"pool": PoolKey("serving", "chat"), "resource": RESOURCE, "record": RECORD, "record_missing": ""}
    return Explanation(**{**given, **changes})


@pytest.fixture
def run() -> Callable[..., tuple[int, str]]:
    """Run the command line as a user would; returns exit code and output."""

    def call(*arguments: str, environment: dict[str, str] | None = None) -> tuple[int, str]:
        result = CliRunner().invoke(cli, list(arguments), env=environment or {})
        return result.exit_code, result.output

    return call


def test_help_lists_commands_and_exit_codes_without_importing_them(
    run: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("forebay.cli.main.importlib.import_module", pytest.fail)
    code, output = run("--help")
    assert code == 0
    for word in ("run", "explain", "replay", "crds", "Exit codes", "lost its lease"):
        assert word in output


@pytest.mark.parametrize(
    "arguments", [("run", "--help"), ("explain", "--help"), ("crds", "--help"), ("--version",)]
)
def test_each_command_explains_itself(run: Callable[..., tuple[int, str]], arguments: tuple[str, ...]) -> None:
    code, output = run(*arguments)
    assert code == 0
    assert output.strip()


def test_every_setting_is_a_flag_of_run() -> None:
    command = cli.get_command(click.Context(cli), "run")
    assert command is not None
    assert {parameter.name for parameter in command.params} == set(OperatorSettings.model_fields)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("run", "--interval", "soon"), "write it like 15s"),
        (("run", "--interval", "0s"), "greater than 0"),
        (("run", "--interval", "0s"), "--interval:"),
        (("run", "--lease-duration", "3s"), "lease times must rise"),
        (("run", "--namespace", "Serving"), "--namespace: String should match"),
        (("run", "--namespace", " , "), "write it like serving or serving,batch"),
        (("run", "--prometheus-pod-label", "po-d"), "--prometheus-pod-label: String should match"),
        (("run", "--prometheus-header", "X"), "write it like X-Scope-OrgID=team-a"),
        (("explain", "chat"), "write NAMESPACE/NAME"),
        (("dance",), "No such command"),
    ],
)
def test_a_wrong_command_line_gets_a_sentence_and_code_2(
    run: Callable[..., tuple[int, str]], arguments: tuple[str, ...], sentence: str
) -> None:
    code, output = run(*arguments)
    assert code == 2
    assert sentence in output


def test_an_environment_variable_is_as_good_as_a_flag(run: Callable[..., tuple[int, str]]) -> None:
    code, output = run("run", environment={"FOREBAY_INTERVAL": "eternity"})
    assert code == 2
    assert "eternity" in output


@pytest.mark.parametrize("arguments", [["dance"], ["explain", "a/b", "--kubeconfig", "/no/such/file"]])
def test_errors_of_use_end_the_process_with_2(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["forebay", *arguments])
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(SystemExit) as ended:
        module.main()
    assert ended.value.code == 2


def test_crds_are_printed_as_yaml_documents(run: Callable[..., tuple[int, str]]) -> None:
    code, output = run("crds")
    assert code == 0
    assert {document["kind"] for document in yaml.safe_load_all(output)} == {"CustomResourceDefinition"}
    assert len(list(yaml.safe_load_all(output))) == 5


def test_values_of_the_command_line_are_read() -> None:
    assert DURATION.convert("1m30s", None, None) == 90.0
    assert DURATION.convert("0", None, None) == 0.0
    assert HEADER.convert("X-Scope-OrgID=a=b", None, None) == ("X-Scope-OrgID", "a=b")


def settings_of(*arguments: str, monkeypatch: pytest.MonkeyPatch, **environment: str) -> OperatorSettings:
    """Return the settings with which `forebay run` would run."""
    found: list[OperatorSettings] = []

    async def note(settings: OperatorSettings) -> int:
        found.append(settings)
        return 0

    monkeypatch.setattr("forebay.cli.run._run", note)
    monkeypatch.setattr("forebay.cli.run.set_up_logging", lambda *_: None)
    result = CliRunner().invoke(cli, ["run", *arguments], env=environment)
    assert result.exit_code == 0, result.output
    return found[0]


@pytest.mark.parametrize(
    ("variable", "headers"),
    [
        ("X-Scope-OrgID=team-a", [("X-Scope-OrgID", "team-a")]),
        ("X-Scope-OrgID=team a, X-Other = b", [("X-Scope-OrgID", "team a"), ("X-Other", "b")]),
        ("Accept=a/b, c/d;q=0.1", [("Accept", "a/b, c/d;q=0.1")]),
        ("A=1,2,3,B=4,", [("A", "1,2,3"), ("B", "4,")]),
        ("A=1,B=2\nC=3\n", [("A", "1,B=2"), ("C", "3")]),
        ("A=1,B=2\n", [("A", "1,B=2")]),
        ("", []),
    ],
)
def test_headers_of_the_environment(
    variable: str, headers: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(monkeypatch=monkeypatch, FOREBAY_PROMETHEUS_HEADERS=variable)
    assert list(settings.prometheus_headers) == headers


def test_namespaces_are_repeated_or_a_comma_list(monkeypatch: pytest.MonkeyPatch) -> None:
    flags = settings_of("--namespace=a,b", "--namespace=c", "--namespace=a", monkeypatch=monkeypatch)
    assert flags.watch_namespaces == ("a", "b", "c")
    variable = settings_of(monkeypatch=monkeypatch, FOREBAY_WATCH_NAMESPACES="a, b")
    assert variable.watch_namespaces == ("a", "b")
    assert settings_of(monkeypatch=monkeypatch, FOREBAY_WATCH_NAMESPACES="").watch_namespaces == ()


def test_credentials_and_labels_of_prometheus_reach_its_client(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_of(
        "--prometheus-username=forebay",
        "--prometheus-password-file=/secret/password",
        "--prometheus-certificate-file=/secret/tls.crt",
        "--prometheus-key-file=/secret/tls.key",
        "--prometheus-ca-file=/secret/ca.crt",
        "--prometheus-workload-label=app",
        "--prometheus-proxy=http://proxy:3128",
        monkeypatch=monkeypatch,
        FOREBAY_PROMETHEUS_NAMESPACE_LABEL="kubernetes_namespace",
        FOREBAY_PROMETHEUS_POD_LABEL="kubernetes_pod_name",
    )
    given = prometheus_settings(settings)
    assert (given.auth.basic_username, given.auth.basic_password_file) == ("forebay", Path("/secret/password"))
    assert given.auth.client_certificate_file == Path("/secret/tls.crt")
    assert given.auth.client_key_file == Path("/secret/tls.key")
    assert given.ca_file == Path("/secret/ca.crt")
    assert (given.namespace_label, given.pod_label) == ("kubernetes_namespace", "kubernetes_pod_name")
    assert (given.workload_label, given.proxy_url) == ("app", "http://proxy:3128")


def test_half_of_basic_authentication_gets_a_sentence() -> None:
    with pytest.raises(ValueError, match="both a user name and a password file"):
        prometheus_settings(OperatorSettings(prometheus_username="forebay"))


def test_an_explanation_tells_what_why_and_what_not() -> None:
    text = as_text(explanation(), colour=False)
    for part in (
        "serving/chat  mode Recommend",
        "P 3 D 4  (mode Recommend writes no replicas)",
        "Why: prefill needs 3 replicas.",
        "Conflicted OtherWriter: An HPA does, too.",
        "2026-11-20 00:00:00 UTC",
        "*size      prefill: 3 replicas. [Sized]",
        "2 replicas at 5.00 $/h, 12 % expected misses: misses cost more",
        "Deployment a/b: 2 -> 3, written. done.",
    ):
        assert part in text
    assert "ScalingLimited" not in text
    assert "\x1b[" not in text
    assert "\x1b[" in as_text(explanation(), colour=True)


def test_a_sentence_that_names_its_role_is_not_given_it_twice() -> None:
    record = copy.deepcopy(RECORD)
    record["decision"]["reasons"][1]["message"] = "prefill: 3 replicas."
    assert "*size      prefill: 3 replicas. [Sized]" in as_text(explanation(record=record), colour=False)


@pytest.mark.parametrize(
    ("share", "told"),
    [
        (0.999, "100 %"),
        (0.123, "12 %"),
        (0.0123, "1.2 %"),
        (3.2e-6, "less than 0.01 %"),
        (1.8e-53, "less than 0.01 %"),
    ],
)
def test_expected_misses_are_told_without_powers_of_ten(share: float, told: str) -> None:
    record = copy.deepcopy(RECORD)
    record["decision"]["alternatives"][0]["expected_miss_share"] = share
    assert f", {told} expected misses" in as_text(explanation(record=record), colour=False)


def test_without_a_record_the_status_is_told_and_said_to_be_all() -> None:
    text = as_text(explanation(record=None, record_missing="nobody answered"), colour=False)
    assert "prefill/h100 2 -> 3" in text
    assert "Only what the status holds: nobody answered." in text


def test_a_pool_that_was_never_looked_at_says_so() -> None:
    text = as_text(explanation(resource={"spec": {}}, record=None), colour=False)
    assert "has not looked at this pool yet" in text


def test_an_explanation_is_json_for_programs() -> None:
    data = json.loads(json.dumps(explanation().as_json()))
    assert data["record"]["decision"]["reasons"][1]["code"] == "Sized"
    assert data["mode"] == "Recommend"


@pytest.mark.parametrize("code", [0, 3])
def test_the_code_that_a_command_ends_with_is_kept(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command("leave")
    @click.pass_context
    def leave(ctx: click.Context) -> None:
        ctx.exit(code)

    monkeypatch.setattr(module.LazyGroup, "get_command", lambda *_: leave)
    monkeypatch.setattr("sys.argv", ["forebay", "leave"])
    with pytest.raises(SystemExit) as ended:
        module.main()
    assert ended.value.code == code


class Cluster:
    """Answers what it has, and refuses what it is told to."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers = answers

    async def get(self, path: str, *, params: dict[str, str] | None = None) -> Any:
        answer = self.answers.get(path, 404)
        if isinstance(answer, int):
            raise ApiError(path, status=answer)
        if path.endswith("/pods"):
            labels = "app.kubernetes.io/part-of=forebay,app.kubernetes.io/component=operator"
            assert params == {"labelSelector": labels}
        return answer


def pods(*names: tuple[str, str]) -> dict[str, Any]:
    return {
        "items": [
            {"metadata": {"namespace": namespace, "name": name}, "status": {"phase": "Running"}}
            for namespace, name in names
        ]
    }


def forwarding(monkeypatch: pytest.MonkeyPatch, records: dict[str, Any]) -> None:
    """Have pods answer with a record, with nothing, or refuse."""

    async def get_from_pod(api: Any, pod: str, port: int, path: str) -> tuple[int, bytes]:
        assert (port, path) == (8080, "/decisions/serving/chat")
        answer = records.get(pod.rpartition("/")[2])
        if isinstance(answer, Exception):
            raise answer
        return (404, b"") if answer is None else (200, json.dumps(answer).encode())

    monkeypatch.setattr("forebay.cli.explain.get_from_pod", get_from_pod)


@pytest.mark.parametrize(
    ("namespace", "answers"),
    [
        (None, {"/api/v1/pods": pods(("a", "east-1"), ("b", "west-1"), ("b", "west-2"))}),
        ("b", {"/api/v1/namespaces/b/pods": pods(("b", "west-1"), ("b", "west-2"))}),
        (
            None,
            {"/api/v1/pods": 403, "/api/v1/namespaces/forebay-system/pods": pods(("forebay-system", "west-2"))},
        ),
    ],
)
async def test_the_leader_that_has_the_pool_is_found_by_its_labels(
    namespace: str | None, answers: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    forwarding(monkeypatch, {"west-2": RECORD})
    cluster: Any = Cluster(answers)
    assert await _ask_operators(cluster, namespace, PoolKey("serving", "chat")) == (RECORD, "")


async def test_without_an_operator_the_reason_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    key = PoolKey("serving", "chat")
    nobody: Any = Cluster({"/api/v1/pods": pods()})
    assert "no pod runs with the labels" in (await _ask_operators(nobody, None, key))[1]
    forwarding(monkeypatch, {"east": ApiError("GET .../portforward: 403", status=403)})
    silent: Any = Cluster({"/api/v1/pods": pods(("a", "east"), ("a", "standby"))})
    why = (await _ask_operators(silent, None, key))[1]
    assert "namespaces/a/pods/east could not be asked: GET .../portforward: 403" in why
    assert "namespaces/a/pods/standby has no record" in why


def test_days_are_durations_too() -> None:
    assert DURATION.convert("14d", None, None) == 14 * 86_400.0
