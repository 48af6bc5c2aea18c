"""One operator process: everything put together, started in order, and ended with an exit code that says why."""

import asyncio
import logging
import signal
import time
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import kopf
from kubernetes.aio.client.configuration import Configuration

from forebay.actuation.kube import KubeApi, field_manager, load_configuration
from forebay.actuation.scale import ScaleWriter
from forebay.actuation.targets import TargetDirectory
from forebay.actuation.victims import VictimMarks
from forebay.forecast.resolution import steps_of
from forebay.runtime.capacity import Capacity
from forebay.runtime.cluster.namespaces import NamespaceLabels
from forebay.runtime.cluster.references import GatewayPools
from forebay.runtime.cluster.roster import RosterKeeper
from forebay.runtime.cluster.targetreader import TargetReader
from forebay.runtime.cluster.view import ClusterView
from forebay.runtime.cluster.writes import Writes
from forebay.runtime.health import Health
from forebay.runtime.heap import Heap
from forebay.runtime.lag import sample_lag
from forebay.runtime.leader import Leader, LeaseLostError, LeaseTimes
from forebay.runtime.metrics import Metrics
from forebay.runtime.report.events import EventRecorder
from forebay.runtime.report.reporter import Reporter
from forebay.runtime.report.status import StatusWriter
from forebay.runtime.rounds import ControlLoop, Steps
from forebay.runtime.scalein import ScaleIns
from forebay.runtime.settings import OperatorSettings
from forebay.runtime.sources import telemetry_source
from forebay.runtime.statefiles import StateFiles
from forebay.runtime.warmup import WarmUp
from forebay.runtime.watch.audit import Auditor
from forebay.runtime.watch.caches import Caches
from forebay.runtime.watch.informer import Informer, connection_info
from forebay.runtime.watch.staleness import StaleCachesError
from forebay.runtime.watch.store import Store
from forebay.runtime.watch.watching import Scope
from forebay.runtime.web import WebServer
from forebay.telemetry.transport.client import ROUND_PATIENCE

logger = logging.getLogger(__name__)

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_LEASE_LOST = 3
_STOP_SECONDS = 8.0


@dataclass(slots=True, kw_only=True)
class Parts:
    """What the tasks of a process share."""

    caches: Caches
    loop: ControlLoop
    leader: Leader | None
    health: Health
    metrics: Metrics


class ListenError(Exception):
    """The address that probes and metrics are served at cannot be listened on: mostly its port is taken."""


class OperatorProcess:
    """Runs one operator until it is told to stop or cannot go on.

    The informer and the health endpoint run in every replica; rounds run in the leader only. A standby has full
    caches and takes over within one round of winning the lease. kopf runs outside the lease for the same reason:
    its handlers only read.
    """

    def __init__(self, settings: OperatorSettings) -> None:
        self._settings = settings
        self._stopping = asyncio.Event()
        self._heap = Heap()
        self._configuration: Configuration | None = None

    def stop(self) -> None:
        """Ask the process to end: finish the round, release the lease, leave."""
        self._stopping.set()

    async def run(self) -> int:
        """Run and return the exit code.

        Raises:
            CredentialsError: there is no access to a cluster.
            ListenError: the port is taken.
        """
        self._heap.set_up()
        async with AsyncExitStack() as stack:
            parts = await stack.enter_async_context(self._parts())
            web = WebServer(parts.health, parts.metrics, parts.loop.record_of)
            stack.push_async_callback(web.stop)
            await self._listen(web)
            return await self._supervise(parts)

    async def _listen(self, web: WebServer) -> None:
        host, port = self._settings.listen_host, self._settings.listen_port
        try:
            port = await web.start(host, port)
        except OSError as error:
            raise ListenError(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
        logger.info("listening on %s:%d", host, port, extra={"port": port})

    @asynccontextmanager
    async def _parts(self) -> AsyncIterator[Parts]:
        """Build everything; closes connections and threads at the end."""
        settings = self._settings
        configuration = await load_configuration(settings.kubeconfig, settings.context)
        self._configuration = configuration
        metrics, store = Metrics(), Store()
        async with AsyncExitStack() as stack:
            lease_api = KubeApi(configuration, timeout_seconds=settings.renew_deadline_seconds / 2)
            leader = self._leader(await stack.enter_async_context(lease_api)) if settings.leader_election else None
            manager = field_manager(settings.lease_namespace, settings.lease_name)
            fence = leader.fence if leader else None
            api = await stack.enter_async_context(KubeApi(configuration, fence=fence, manager=manager))
            source = telemetry_source(settings, metrics)
            stack.push_async_callback(source.close)
            scope = Scope(
                namespaces=settings.watch_namespaces, pools=settings.pool_selector, pods=settings.pod_selector
            )
            files = StateFiles(settings.state_directory) if settings.state_directory else None
            directory = TargetDirectory(api)
            writer = ScaleWriter(api, directory, time.monotonic)
            steps = Steps(
                keeper=RosterKeeper(
                    store,
                    namespaces=NamespaceLabels(
                        api=api, resync_seconds=settings.resync_seconds, clock=time.monotonic
                    ),
                    fleet_policy=settings.fleet_policy,
                    namespace_label=settings.prometheus_namespace_label,
                ),
                gateway_pools=GatewayPools(api=api, resync_seconds=settings.resync_seconds, clock=time.monotonic),
                target_reader=TargetReader(api, directory, writer),
                world=ClusterView(
                    store,
                    settings.provision_deadline_seconds,
                    Writes(settings.conflict_window_seconds, manager),
                ),
                source=source,
                warm_up=WarmUp(source, files, history_seconds=settings.history_seconds, wall_clock=time.time),
                writer=writer,
                scale_ins=ScaleIns(VictimMarks(api), source),
                capacity=Capacity(api, hears=not settings.watch_namespaces, orders=_tells_of_node_pools(settings)),
                reporter=self._reporter(api, store, metrics),
                metrics=metrics,
                files=files,
            )
            loop = ControlLoop(
                steps,
                interval_seconds=settings.interval_seconds,
                telemetry_patience_seconds=ROUND_PATIENCE * settings.prometheus_timeout_seconds,
                resolution=steps_of(settings.forecast_step_seconds),
            )
            stack.push_async_callback(loop.close)
            health = Health(clock=time.monotonic, interval_seconds=settings.interval_seconds)
            caches = Caches(
                api=api,
                store=store,
                scope=scope,
                auditor=Auditor(api, store, scope),
                informer=Informer(store, scope=scope, login=self._login, failed=metrics.watch_failures.inc),
                health=health,
                resync_seconds=settings.resync_seconds,
            )
            yield Parts(caches=caches, loop=loop, leader=leader, health=health, metrics=metrics)

    def _leader(self, api: KubeApi) -> Leader:
        settings = self._settings
        return Leader(
            api,
            namespace=settings.lease_namespace,
            name=settings.lease_name,
            identity=settings.identity,
            times=LeaseTimes(
                duration=settings.lease_duration_seconds,
                renew_deadline=settings.renew_deadline_seconds,
                retry=settings.retry_period_seconds,
            ),
            clock=time.monotonic,
        )

    def _reporter(self, api: KubeApi, store: Store, metrics: Metrics) -> Reporter:
        status = StatusWriter(
            api, store, metrics, drift_seconds=self._settings.status_drift_seconds, clock=time.monotonic
        )
        events = EventRecorder(
            api,
            metrics,
            instance=self._settings.identity,
            clock=time.monotonic,
            wall_clock=time.time,
            namespaces=self._settings.watch_namespaces,
        )
        return Reporter(status, events, metrics, tells_of_node_pools=_tells_of_node_pools(self._settings))

    def _login(self) -> kopf.ConnectionInfo:
        if self._configuration is None:
            raise RuntimeError("kopf asks for credentials before they were loaded")
        return connection_info(self._configuration)

    async def _supervise(self, parts: Parts) -> int:
        """Run all tasks until one ends or a signal comes; then end the others in order."""
        informer = asyncio.create_task(self._inform(parts), name="informer")
        tasks: dict[str, Coroutine[None, None, None]] = {
            "rounds": self._rounds(parts),
            "audit": parts.caches.keep(),
            "lag": sample_lag(parts.metrics.lag_seconds.observe),
        }
        if parts.leader is not None:
            tasks["lease"] = parts.leader.run(parts.health.lease_attempted)
        workers = [asyncio.create_task(task, name=name) for name, task in tasks.items()]
        stop = asyncio.create_task(self._stopping.wait(), name="stop")
        await asyncio.wait({informer, stop, *workers}, return_when=asyncio.FIRST_COMPLETED)
        code = _exit_code([task for task in (informer, *workers) if task.done()])
        if code == EXIT_OK:
            await parts.loop.finish(_STOP_SECONDS)
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        if parts.leader is not None and code == EXIT_OK:
            await parts.leader.release()
        parts.caches.informer.stop()
        stop.cancel()
        await asyncio.wait({informer}, timeout=_STOP_SECONDS)
        return code

    async def _inform(self, parts: Parts) -> None:
        self._handle_signals()
        await parts.caches.informer.run(parts.caches.readable, self._handle_signals)

    def _handle_signals(self) -> None:
        """Take the signals over from kopf, so that the round in progress ends before the informer does."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.stop)

    async def _rounds(self, parts: Parts) -> None:
        """Fill the caches, wait for the lease, then run rounds."""
        await parts.caches.fill()
        if parts.leader is not None:
            await self._stand_by(parts, parts.leader)
        parts.metrics.leader.set(1)
        await parts.loop.run(lambda: self._came_round(parts))

    def _came_round(self, parts: Parts) -> None:
        parts.health.round_done()
        self._heap.after_round()

    async def _stand_by(self, parts: Parts, leader: Leader) -> None:
        """Wait for the lease, and follow the leader meanwhile: who is elected at once never follows."""
        loop = asyncio.get_running_loop()
        while not leader.is_leading.is_set():
            due = loop.time() + self._settings.interval_seconds
            while not leader.is_leading.is_set() and loop.time() < due:
                parts.health.round_done()
                await _wait_for(leader.is_leading, 1.0)
            if self._settings.warm_standby and not leader.is_leading.is_set():
                await parts.loop.follow()
                await parts.loop.use_pause(loop.time(), leader.is_leading.is_set)
                self._heap.after_round()


async def _wait_for(event: asyncio.Event, seconds: float) -> None:
    """Wait for an event, not longer than ``seconds``."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return


def _tells_of_node_pools(settings: OperatorSettings) -> bool:
    """Whether this operator writes the status of node pools: nobody else must, and it must see all their pods.

    One of single namespaces sees a part of the pods. One with a selector has others beside it that see the same
    node pools, and each of them would write what it alone has learned.
    """
    return not settings.watch_namespaces and not settings.pool_selector


def _exit_code(ended: Iterable[asyncio.Task[None]]) -> int:
    """Return the exit code for the tasks that ended by themselves; none means that we were asked to stop."""
    code = EXIT_OK
    for task in ended:
        error = task.exception() if not task.cancelled() else None
        if isinstance(error, LeaseLostError):
            logger.error("%s", error)
            return EXIT_LEASE_LOST
        code = EXIT_FAILED
        if isinstance(error, StaleCachesError):
            logger.error("%s", error)
            continue
        logger.error("task %s ended: %r", task.get_name(), error, exc_info=error)
    return code
