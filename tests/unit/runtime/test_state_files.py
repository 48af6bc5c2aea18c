"""Saved states as files: written, read, removed, and whatever a volume does about it."""

from pathlib import Path

import pytest

from forebay.flow.fleet import PoolKey
from forebay.runtime.statefiles import StateFiles
from tests.unit.runtime.pasts import CHAT, State


def test_states_are_saved_restored_and_forgotten_with_their_pools(tmp_path: Path) -> None:
    files, state = StateFiles(tmp_path / "states"), State()
    state.kept[CHAT] = b"memory"
    assert files.save(state, [CHAT, PoolKey("serving", "new")]) == 1
    fresh = State()
    assert files.restore(fresh, CHAT)
    assert fresh.kept == {CHAT: b"memory"}
    files.forget_others([])
    assert not files.restore(State(), CHAT)


def test_a_damaged_state_is_removed_and_the_pool_starts_afresh(tmp_path: Path) -> None:
    files = StateFiles(tmp_path)
    path = tmp_path / "serving_chat.state"
    path.write_bytes(b"damaged")
    assert files.has(CHAT)
    assert not files.restore(State(), CHAT)
    assert not files.has(CHAT)
    assert not path.exists()


def test_a_directory_that_may_not_be_entered_has_no_states(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> bool:
        raise PermissionError(13, "permission denied")

    monkeypatch.setattr(Path, "is_file", refuse)
    assert not StateFiles(tmp_path).has(CHAT)


def test_a_volume_that_turned_read_only_costs_the_states_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Protects the process: it ended every five minutes, when a file was to be removed."""

    def refuse(path: Path, *, missing_ok: bool = False) -> None:
        raise OSError(30, "read-only file system")

    (tmp_path / "serving_chat.state").write_bytes(b"damaged")
    monkeypatch.setattr(Path, "unlink", refuse)
    files = StateFiles(tmp_path)
    files.forget_others([])
    assert not files.restore(State(), CHAT)
    assert caplog.text.count("serving_chat.state was not removed: [Errno 30]") == 2


def test_a_state_that_cannot_be_written_down_does_not_cost_the_others(tmp_path: Path) -> None:
    """Protects what is saved on exit: one pool's bug must not lose a fleet's memory."""

    class Partly(State):
        def snapshot(self, key: PoolKey) -> bytes | None:
            if key == CHAT:
                raise ZeroDivisionError("a bug in one pool's state")
            return b"memory"

    files, other = StateFiles(tmp_path), PoolKey("serving", "other")
    assert files.save(Partly(), [CHAT, other]) == 1
    assert (files.has(CHAT), files.has(other)) == (False, True)
