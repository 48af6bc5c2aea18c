"""The caches of the cluster: filled before the first decision, freed of ghosts, wider when rights are given."""

import asyncio
import logging
from collections.abc import Collection
from dataclasses import dataclass, field

from forebay.actuation.kube import ApiError, KubeApi
from forebay.api.base import GROUP, VERSION
from forebay.runtime.health import Health
from forebay.runtime.watch.audit import Auditor
from forebay.runtime.watch.informer import Informer
from forebay.runtime.watch.kinds import ALL_KINDS, OPTIONAL_KINDS, OWN_KINDS, Kind
from forebay.runtime.watch.staleness import StaleCachesError
from forebay.runtime.watch.store import Store
from forebay.runtime.watch.watching import Access, Scope, find_access

logger = logging.getLogger(__name__)

_ACCESS_SECONDS = 2.0
_COMPLETENESS_SECONDS = 0.5
_PATIENCE_SECONDS = 300.0
"""Caches that nobody could watch for so long are too old to decide on."""
_MOST_LOOKS = 120
"""At a kind that may be read from now on and does not arrive; the next resync tries again."""
_OWN_PLURALS = frozenset(kind.value for kind in OWN_KINDS)


@dataclass(slots=True, kw_only=True)
class Caches:
    """Looks after the store that the informer fills."""

    api: KubeApi
    store: Store
    scope: Scope
    auditor: Auditor
    informer: Informer
    health: Health
    """Told that waiting is no standstill, and what is waited for."""
    resync_seconds: float
    _may_watch: asyncio.Event = field(default_factory=asyncio.Event)
    _filled: asyncio.Event = field(default_factory=asyncio.Event)

    async def readable(self) -> Collection[Kind]:
        """Wait until our kinds are served and may be read, and return what is to be watched.

        kopf looks for them once, and waits for ever at a refusal. What could be read once is watched for ever, but
        for kinds of other projects, whose CRDs come and go.

        Raises:
            StaleCachesError: the wait took too long, not for the first time: what was read then is decided on.
        """
        said, since = "", self.health.clock()
        while (access := await self._access()).problem:
            if access.problem != said:
                logger.warning("waiting: %s", access.problem)
                said = access.problem
            self._waits_for(access.problem)
            waited = self.health.clock() - since
            if self._may_watch.is_set() and waited > _PATIENCE_SECONDS:
                raise StaleCachesError(f"nothing could be watched for {waited:.0f} s: {access.problem}")
            await asyncio.sleep(_ACCESS_SECONDS)
        if self._may_watch.is_set():
            # Deletions of the time in which nobody watched are told by nobody.
            await self.auditor.compare()
        else:
            for kind, sentence in access.without.items():
                if not kind.optional:
                    logger.warning("%s", sentence)
            self.store.without = access.without
            self._may_watch.set()
        self._let_go(access.without.keys() & OPTIONAL_KINDS)
        return frozenset(ALL_KINDS) - (access.without.keys() & self.store.without.keys())

    def _let_go(self, absent: Collection[Kind]) -> None:
        """Go without kinds of other projects that are not served, or may not be watched, any more."""
        for kind in absent:
            if kind in self.store.kinds:
                logger.info("%s are not watched any more", kind.resource)
                self.store.without = {**self.store.without, kind: f"{kind.resource} are not served any more"}
                self.store.drop_all(kind)

    async def fill(self) -> None:
        """Wait until every kind that is watched was seen as a whole."""
        await self._may_watch.wait()
        while True:
            try:
                if await self.auditor.check_completeness():
                    break
                self._waits_for(f"the caches of {', '.join(self.auditor.missing)}")
            except ApiError as error:
                self._waits_for(str(error))
                logger.warning("the caches cannot be checked yet: %s", error)
            await asyncio.sleep(_COMPLETENESS_SECONDS)
        await self._read_autoscalers()
        self.health.caches_complete = True
        self._filled.set()
        logger.info("caches are complete", extra={kind.value: n for kind, n in self.store.counts().items()})

    async def keep(self) -> None:
        """Once the caches are filled, compare them with the API server once in a while, for ever.

        Raises:
            StaleCachesError: they do not follow the cluster any more.
        """
        await self._filled.wait()
        while True:
            await asyncio.sleep(self.resync_seconds)
            try:
                await self._look_after()
            except StaleCachesError:
                raise
            except Exception:  # whatever one comparison runs into, the next one comes
                logger.exception("the caches were not compared with the API server")

    async def _look_after(self) -> None:
        await self._read_autoscalers()
        try:
            await self.take_new_rights()
        except ApiError as error:
            logger.warning("whether more may be read by now is not known: %s", error)
        await self.check_age()

    async def check_age(self) -> None:
        """Compare the caches with the API server; what could not be compared for minutes takes readiness back.

        Raises:
            StaleCachesError: they do not follow the cluster any more. A new process begins with fresh ones, or
                says what it waits for.
        """
        await self.auditor.compare()
        staleness = self.auditor.staleness
        if why := (*staleness.silent, *staleness.refused):
            raise StaleCachesError(f"the caches are too old to decide on: {'; '.join(why)}")
        self.health.doubt = "; ".join(staleness.unread)
        if self.health.doubt:
            logger.error("the caches may be too old to decide on: %s", self.health.doubt)

    async def take_new_rights(self) -> None:
        """Watch what was refused at the start and may be read by now; it counts when its cache is complete.

        Raises:
            ApiError: the API server failed.
        """
        if not self.store.without:
            return
        without = (await find_access(self.api, self.scope, self.store.without.keys())).without
        gained = self.store.without.keys() - without.keys()
        if not gained:
            return
        self.informer.begin_anew()
        for _ in range(_MOST_LOOKS):
            await asyncio.sleep(_COMPLETENESS_SECONDS)
            if await self.auditor.are_complete(gained):
                break
        else:
            return
        self.store.without = {kind: words for kind, words in self.store.without.items() if kind not in gained}
        logger.info("may be read from now on: %s", ", ".join(sorted(kind.value for kind in gained)))

    async def _access(self) -> Access:
        """Return what may be read, and what stands in the way of watching at all."""
        try:
            document = await self.api.get(f"/apis/{GROUP}/{VERSION}")
            missing = _OWN_PLURALS - {str(item.get("name")) for item in document.get("resources", [])}
            if missing:
                return _no_access(f"install the CRDs: {', '.join(sorted(missing))} are missing")
            return await find_access(self.api, self.scope)
        except ApiError as error:
            return _no_access("install the CRDs: the cluster has none" if error.not_found else str(error))

    async def _read_autoscalers(self) -> None:
        try:
            await self.auditor.read_autoscalers()
        except ApiError as error:
            logger.warning("autoscalers of other projects were not read: %s", error)

    def _waits_for(self, what: str) -> None:
        """Say what is waited for; before the first round, waiting is no standstill."""
        self.health.waiting_for = what
        if not self.health.caches_complete:
            self.health.round_done()


def _no_access(problem: str) -> Access:
    return Access(without={}, problem=problem)
