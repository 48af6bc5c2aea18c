"""The private parts of kopf that the informer relies on: a release that changes them must not go unnoticed."""

import asyncio
import importlib.metadata
import inspect
import tomllib
from pathlib import Path

from kopf._cogs.aiokits import aiotasks
from kopf._core.reactor import inventory

from forebay.runtime.watch.informer import _is_guarded_by_kopf

PYPROJECT = Path(__file__).resolve().parents[4] / "pyproject.toml"
WHAT_TO_DO = (
    "kopf changed a private part that runtime/watch/informer.py relies on; adapt the informer, then the pin"
)


def test_kopf_is_pinned_exactly() -> None:
    """Protects an install from a release of kopf that nobody has tried with the informer."""
    (pin,) = [
        item for item in tomllib.loads(PYPROJECT.read_text())["project"]["dependencies"] if item.startswith("kopf")
    ]
    installed = importlib.metadata.version("kopf")
    assert pin == f"kopf=={installed}", "pin kopf in pyproject.toml to the release that the tests run with"


async def test_private_parts_of_kopf_are_as_the_informer_expects() -> None:
    recall = inspect.signature(inventory.ResourceMemories.recall).parameters
    assert "ephemeral" in recall, f"{WHAT_TO_DO}: NoMemories asks for memories that are not kept"

    async def watch() -> None:
        await asyncio.Event().wait()

    theirs = aiotasks.create_guarded_task(watch(), name="a watch")
    ours = asyncio.create_task(watch())
    await asyncio.sleep(0)
    try:
        assert _is_guarded_by_kopf(theirs), f"{WHAT_TO_DO}: tasks of failed watches are found by `guard`"
        assert not _is_guarded_by_kopf(ours)
    finally:
        for task in (theirs, ours):
            task.cancel()
        await asyncio.gather(theirs, ours, return_exceptions=True)
