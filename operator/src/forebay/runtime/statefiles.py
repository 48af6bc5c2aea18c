"""What must survive a restart, and where it lives.

* Replica counts live in the targets' `/scale`, learned lead times and the last decision in the statuses.
* Forecasters are re-warmed from Prometheus history: it is there anyway, needs no write, and is the same on
  whichever node the operator starts. A snapshot is up to 300 KB per pool; two thousand of them in ConfigMaps would
  be 600 MB in etcd, rewritten every few minutes.
* A standby observes and decides as the leader does without writing, so that a failover loses nothing.
* Where a state directory is given, snapshots are kept there as well, so that a container that restarts in its pod
  (or on a persistent volume) has its calibration and scores back, too.
"""

import logging
from collections.abc import Iterable
from pathlib import Path

from forebay.flow.fleet import PoolKey
from forebay.pipeline import FleetState, StateError

logger = logging.getLogger(__name__)

_SUFFIX = ".state"


class StateFiles:
    """Snapshots of pools in a directory, one file each, replaced atomically."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def save(self, state: FleetState, keys: Iterable[PoolKey]) -> int:
        """Write the snapshots of pools; returns how many. A full disk costs the snapshot, not the round."""
        return sum(self._save_one(state, key) for key in keys)

    def has(self, key: PoolKey) -> bool:
        """Whether there is a snapshot of this pool; not whether it is of any use."""
        try:
            return self._path(key).is_file()
        except OSError:  # the directory may not be entered
            return False

    def restore(self, state: FleetState, key: PoolKey) -> bool:
        """Give a pool its memory back; False if there is none or it is of no use (then the file is removed)."""
        path = self._path(key)
        try:
            data = path.read_bytes()
        except OSError:
            return False
        try:
            state.restore(key, data)
        except StateError as error:
            logger.warning("the saved state of %s is not used: %s", key, error)
            _remove(path)
            return False
        return True

    def forget_others(self, keys: Iterable[PoolKey]) -> None:
        """Remove the files of pools that are gone: of all but these."""
        kept = {self._path(key).name for key in keys}
        for path in self._directory.glob(f"*{_SUFFIX}"):
            if path.name not in kept:
                _remove(path)

    def _save_one(self, state: FleetState, key: PoolKey) -> bool:
        try:
            data = state.snapshot(key)
        except Exception:  # one pool's edge: the others are saved all the same
            logger.exception("the state of %s cannot be written down", key)
            return False
        if data is None:
            return False
        path = self._path(key)
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            scratch = path.with_suffix(".tmp")
            scratch.write_bytes(data)
            scratch.replace(path)
        except OSError as error:
            logger.warning("the state of %s was not saved: %s", key, error)
            return False
        return True

    def _path(self, key: PoolKey) -> Path:
        # Kubernetes names have no underscore.
        return self._directory / f"{key.namespace}_{key.name}{_SUFFIX}"


def _remove(path: Path) -> None:
    """Remove a file; one that cannot be removed (a volume turned read-only) stays."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        logger.warning("%s was not removed: %s", path, error)
