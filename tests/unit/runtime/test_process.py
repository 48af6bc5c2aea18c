"""The process: it begins with a sentence about what is missing, and ends when it must not go on."""

import asyncio
import logging
import socket
from pathlib import Path
from typing import Any

import pytest
import yaml

from forebay.actuation.kube import CredentialsError
from forebay.runtime import process as module
from forebay.runtime.leader import LeaseLostError
from forebay.runtime.metrics import Metrics
from forebay.runtime.process import EXIT_FAILED, EXIT_LEASE_LOST, EXIT_OK, ListenError, OperatorProcess
from forebay.runtime.settings import OperatorSettings
from forebay.runtime.watch.staleness import StaleCachesError
from forebay.runtime.watch.store import Store


@pytest.fixture(autouse=True)
def _own_heap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the collector of the process that tests run in alone."""
    monkeypatch.setattr("forebay.runtime.heap.Heap.set_up", lambda _: None)


def kubeconfig(directory: Path, **user: str) -> str:
    """Write a kubeconfig of a server that nobody asks."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "clusters": [{"name": "here", "cluster": {"server": "https://127.0.0.1:9"}}],
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
        "users": [{"name": "me", "user": user}],
    }
    path = directory / "config"
    path.write_text(yaml.safe_dump(document))
    return str(path)


async def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = OperatorSettings(
            kubeconfig=kubeconfig(tmp_path, username="me"), listen_host="127.0.0.1", listen_port=port
        )
        with pytest.raises(ListenError, match=f"cannot listen on 127.0.0.1:{port}: "):
            await OperatorProcess(settings).run()


@pytest.mark.parametrize("content", [None, "no certificate"])
async def test_a_certificate_that_cannot_be_used_is_named(tmp_path: Path, content: str | None) -> None:
    """Protects: it was said that the port could not be listened on."""
    certificate = tmp_path / "client.crt"
    if content is not None:
        certificate.write_text(content)
    user = {"client-certificate": str(certificate), "client-key": str(certificate)}
    settings = OperatorSettings(kubeconfig=kubeconfig(tmp_path, **user), listen_host="127.0.0.1", listen_port=0)
    with pytest.raises(CredentialsError, match="No access to a cluster") as caught:
        await OperatorProcess(settings).run()
    assert str(certificate) in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "tells"),
    [
        (OperatorSettings(), True),
        (OperatorSettings(watch_namespaces=("serving",)), False),
        (OperatorSettings(pool_selector="fleet=a"), False),
    ],
)
def test_nobody_writes_the_status_of_node_pools_beside_another(
    settings: OperatorSettings, *, tells: bool, memory_api: Any, store: Store
) -> None:
    """Protects: releases that share a fleet by a selector overwrote each other's figures in every round."""
    reporter = OperatorProcess(settings)._reporter(memory_api, store, Metrics())
    assert reporter._tells_of_node_pools is tells
    assert reporter._events._namespaces == frozenset(settings.watch_namespaces)


@pytest.mark.parametrize(
    ("error", "code"),
    [(StaleCachesError("too old"), EXIT_FAILED), (LeaseLostError("gone"), EXIT_LEASE_LOST), (None, EXIT_OK)],
)
async def test_the_exit_code_says_why_it_ended(
    error: Exception | None, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    async def work() -> None:
        if error is not None:
            raise error

    task = asyncio.create_task(work(), name="audit")
    await asyncio.wait({task})
    with caplog.at_level(logging.ERROR):
        assert module._exit_code([] if error is None else [task]) == code
    assert [record.message for record in caplog.records] == ([] if error is None else [str(error)])
