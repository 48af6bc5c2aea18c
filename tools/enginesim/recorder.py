"""From what happened in the physics to what engines and a gateway would have counted.

In a prefill/decode pool the prefill pod counts a request when its prefill ends (it runs it with one output
token) and the decode pod when the last token is out, as vLLM does under disaggregation. The waiting line is one
for the pool; it is shown by the gateway if that holds it, else dealt out evenly to the pods that could take its
requests.
"""

from collections.abc import Iterable, Mapping

import numpy as np

from enginesim.config import PoolConfig, Workload
from enginesim.physics import Indices, PoolPhysics, ReplicaGauges
from enginesim.series import Target
from enginesim.tables import load_table
from forebay.flow.fleet import Role


class Recorder:
    """The targets of one pool, and their series."""

    def __init__(self, config: PoolConfig, physics: PoolPhysics) -> None:
        self.config = config
        self.physics = physics
        self.pods: dict[str, Target] = {}
        self.roles: dict[str, Role] = {}
        self.draining: set[str] = set()
        """Pods that take no more requests, and so no share of the waiting line."""
        self.gateway = self._gateway_target()
        self.served = 0
        self.refused = 0
        self._deal = 0
        self._answered: dict[str, float] = {}
        """Output tokens of the requests that each pod has finished."""

    @property
    def gateway_holds(self) -> bool:
        """Return whether requests wait in the gateway."""
        return self.config.gateway is not None and self.config.gateway.holds_queue

    def add_pod(self, pod: str, workload: Workload) -> None:
        """Begin the series of a pod, from zero."""
        speed = workload.speed
        names = self._names(workload.role)
        names["kv_blocks_16"] = str(speed.kv_capacity_tokens // 16)
        target = Target(load_table(self.config.engine), names)
        target.set("kv_capacity", speed.kv_capacity_tokens)
        target.set("kv_blocks_32", speed.kv_capacity_tokens // 32)
        target.set("block_32", 32)
        self.pods[pod] = target
        self.roles[pod] = Role(workload.role)
        self._answered[pod] = 0.0

    def drain_pod(self, pod: str) -> None:
        """Note that a pod takes no more requests."""
        self.draining.add(pod)

    def resume_pod(self, pod: str) -> None:
        """Go on with the series of a pod that takes requests again."""
        self.draining.discard(pod)

    def remove_pod(self, pod: str) -> None:
        """Forget a pod's series."""
        self.pods.pop(pod, None)
        self.roles.pop(pod, None)
        self._answered.pop(pod, None)
        self.draining.discard(pod)

    def record(self) -> tuple[Indices, Indices]:
        """Take over what happened since the last call; return the requests that ended well, and the refused."""
        happened = self.physics.happenings()
        self._record_arrivals(happened.arrived)
        self._record_first_tokens(happened.first_token)
        self._record_done(happened.done)
        self.served += len(happened.done)
        self.refused += len(happened.refused)
        if self.gateway is not None:
            self.gateway.add("failed", len(happened.refused))
        return happened.done, happened.refused

    # Events ----------------------------------------------------------------------------------------------------

    def _record_arrivals(self, index: Indices) -> None:
        """Count arrivals, dealt to the pods that prefill in turn."""
        count = len(index)
        if self.gateway is not None:
            self.gateway.add("arrived", count)
        takers = self._takers(self.roles, decode=False)
        if not takers:
            return
        for position, pod in enumerate(takers):
            mine = index[(position - self._deal) % len(takers) :: len(takers)]
            self.pods[pod].add("started", len(mine))
            self.pods[pod].add("counted_twice", 2 * len(mine))
            self.pods[pod].observe("arrived_length", self.physics.requests.prompt[mine].astype(np.float64))
        self._deal = (self._deal + count) % len(takers)

    def _record_first_tokens(self, index: Indices) -> None:
        requests = self.physics.requests
        for pod, mine in self._by_pod(index, requests.prefill_slot):
            target = self.pods[pod]
            waited = requests.started[mine] - requests.arrival[mine]
            prefill = requests.arrival[mine] + requests.ttft[mine] - requests.started[mine]
            ttft = prefill if self.gateway_holds else requests.ttft[mine]
            target.observe("ttft_seconds", ttft)
            if self.roles[pod] is Role.SERVE:
                target.observe("ttft_at_the_end_seconds", ttft)
            target.observe("queue_seconds", np.zeros(len(mine)) if self.gateway_holds else waited)
            self._record_prompts(target, mine)
            if self.roles[pod] is Role.PREFILL:
                target.add("finished", len(mine))
                self._record_prefills(target, mine)
                target.observe("e2e_seconds", prefill if self.gateway_holds else requests.ttft[mine])
                target.observe("inference_seconds", prefill)
                target.observe("output_length", np.ones(len(mine)))
                target.add("output_tokens", len(mine))
        if self.gateway is not None:
            self.gateway.observe("ttft_seconds", requests.ttft[index])
            self.gateway.observe("queue_seconds", requests.started[index] - requests.arrival[index])

    def _record_prompts(self, target: Target, index: Indices) -> None:
        requests = self.physics.requests
        target.add("prompt_tokens", float(requests.prompt[index].sum()))
        target.add("cached_tokens", float((requests.prompt[index] - requests.work[index]).sum()))

    def _record_prefills(self, target: Target, index: Indices) -> None:
        requests = self.physics.requests
        prefill = requests.arrival[index] + requests.ttft[index] - requests.started[index]
        target.observe("prefill_seconds", prefill)
        target.observe("claimed_prefill_seconds", prefill)
        target.observe("claimed_length", requests.work[index].astype(np.float64))
        target.observe("prompt_length", requests.prompt[index].astype(np.float64))
        target.observe("uncached_length", requests.work[index].astype(np.float64))
        target.observe("cached_length", (requests.prompt[index] - requests.work[index]).astype(np.float64))

    def _record_done(self, index: Indices) -> None:
        requests = self.physics.requests
        for pod, mine in self._by_pod(index, requests.decode_slot):
            self._record_answers(pod, mine)
        if self.gateway is None or not len(index):
            return
        total = requests.done[index] - requests.arrival[index]
        output = requests.output[index].astype(np.float64)
        itl = self.physics.itl_seconds(index)
        self.gateway.add("finished", len(index))
        self.gateway.observe("e2e_seconds", total)
        self.gateway.observe("normalised_seconds", total / np.maximum(1, output))
        self.gateway.observe("prompt_length", requests.prompt[index].astype(np.float64))
        self.gateway.observe("cached_length", (requests.prompt[index] - requests.work[index]).astype(np.float64))
        self.gateway.observe("output_length", output)
        self.gateway.observe("request_itl_seconds", itl)
        self.gateway.observe("token_itl_seconds", itl, output)

    def _record_answers(self, pod: str, index: Indices) -> None:
        requests, target = self.physics.requests, self.pods[pod]
        output = requests.output[index].astype(np.float64)
        itl = self.physics.itl_seconds(index)
        handed_over = requests.arrival[index] + requests.ttft[index]
        decode = requests.done[index] - handed_over - self.physics.transfer_seconds(index)
        self._answered[pod] += float(output.sum())
        target.add("finished", len(index))
        target.observe("output_length", output)
        target.observe("request_itl_seconds", itl)
        target.observe("token_itl_seconds", itl, output)
        target.observe("decode_seconds", np.maximum(decode, 0.0))
        if self.roles[pod] is Role.SERVE:
            self._record_prefills(target, index)
            began = requests.started[index] if self.gateway_holds else requests.arrival[index]
            target.observe("e2e_seconds", requests.done[index] - began)
            target.observe("inference_seconds", requests.done[index] - requests.started[index])
            return
        self._record_prompts_taken_over(target, index)
        taken_over = self.physics.transfer_seconds(index) + itl
        target.observe("ttft_seconds", taken_over)
        target.observe("ttft_at_the_end_seconds", requests.ttft[index] + taken_over)
        # vLLM counts what it was sent as if it had computed it.
        target.observe("claimed_prefill_seconds", taken_over)
        target.observe("claimed_length", requests.prompt[index].astype(np.float64))
        target.observe("e2e_seconds", requests.done[index] - handed_over)
        target.observe("inference_seconds", np.maximum(decode, 0.0))

    def _record_prompts_taken_over(self, target: Target, index: Indices) -> None:
        """Count the prompts whose KV cache a decode pod was given; it computed none of their tokens."""
        prompts = self.physics.requests.prompt[index].astype(np.float64)
        target.add("prompt_tokens", float(prompts.sum()))
        target.observe("prompt_length", prompts)

    def _by_pod(self, index: Indices, slot_of: np.ndarray) -> list[tuple[str, Indices]]:
        """Split requests by the pod on their slot; those of pods that are gone are left out."""
        slots = slot_of[index]
        groups = []
        for slot in np.unique(slots).tolist():
            pod = self.physics.pod_of(slot)
            if pod is not None and pod in self.pods:
                groups.append((pod, index[slots == slot]))
        return groups

    # Gauges ----------------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Bring all gauges up to now."""
        held = {pod: gauges for pod in self.pods if (gauges := self.physics.gauges(pod)) is not None}
        for pod in self.pods.keys() - held.keys():
            # Drained and still there: an engine without a request.
            self.pods[pod].set("running", 0)
            self.pods[pod].set("waiting", 0)
        for pod, gauges in held.items():
            self._refresh_pod(self.pods[pod], gauges)
            for quantity in ("waiting", "queued", "sending", "receiving"):
                self.pods[pod].set(quantity, 0)
        first, second = self._takers(held, decode=False), self._takers(held, decode=True)
        moving = self.physics.transferring
        self._deal_out(first, waiting=self._engine_queue(), queued=self._engine_queue(), sending=moving)
        ready = self.physics.waiting_decode
        self._deal_out(second, waiting=ready + moving, queued=ready, receiving=moving)
        self._follow_tokens(held)
        self._refresh_gateway(held)

    def _follow_tokens(self, held: Mapping[str, ReplicaGauges]) -> None:
        """Count tokens as they are generated, not only when their request ends."""
        for pod, role in self.roles.items():
            if role is not Role.PREFILL:
                so_far = held[pod].tokens_so_far if pod in held else 0.0
                generated = self.pods[pod].follow("output_tokens", self._answered[pod] + so_far)
                if self.gateway is not None:
                    self.gateway.add("output_tokens", generated)

    def _takers(self, pods: Iterable[str], *, decode: bool) -> list[str]:
        """Return the pods that may take the next request of a phase; the draining ones if there are no others."""
        mine = [pod for pod in pods if (self.roles[pod] is Role.DECODE) == decode]
        return [pod for pod in mine if pod not in self.draining] or mine

    def _engine_queue(self) -> int:
        return 0 if self.gateway_holds else self.physics.waiting_prefill

    def _deal_out(self, pods: list[str], **totals: int) -> None:
        """Show every pod its even share of what waits before all of them."""
        for position, pod in enumerate(pods):
            for quantity, total in totals.items():
                self.pods[pod].set(quantity, (total + len(pods) - 1 - position) // len(pods))

    def _refresh_pod(self, target: Target, gauges: ReplicaGauges) -> None:
        target.set("running", gauges.running)
        target.set("kv_tokens", gauges.kv_tokens)
        target.set("used_blocks_32", gauges.kv_tokens // 32)
        target.set("kv_usage", min(1.0, gauges.kv_tokens / gauges.kv_capacity))
        prompts = target.values.get("prompt_tokens", 0.0)
        target.set("cache_hit_rate", target.values.get("cached_tokens", 0.0) / prompts if prompts else 0.0)

    def _refresh_gateway(self, held: dict[str, ReplicaGauges]) -> None:
        gateway, physics = self.gateway, self.physics
        if gateway is None:
            return
        in_queue = physics.waiting_prefill if self.gateway_holds else 0
        gateway.follow("dispatched", physics.arrived - in_queue - self.refused)
        if physics.arrived:
            # A gauge of a flow is there from its first request on, at 0 as well.
            gateway.touched.update(("held", "in_flight", "in_service", "before_first_token"))
        gateway.set("held", in_queue)
        gateway.set("in_flight", physics.in_flight)
        gateway.set("in_service", physics.in_flight - in_queue)
        gateway.set("before_first_token", physics.before_first_token)
        gateway.set("ready_pods", len(held))
        gateway.set("mean_queue", self._engine_queue() / len(held) if held else 0.0)
        usage = [min(1.0, one.kv_tokens / one.kv_capacity) for one in held.values()]
        gateway.set("kv_usage", float(np.mean(usage)) if usage else 0.0)

    def _gateway_target(self) -> Target | None:
        if self.config.gateway is None:
            return None
        return Target(load_table(self.config.gateway.dialect), self._names(Role.SERVE))

    def _names(self, role: Role) -> dict[str, str]:
        return {"model": self.config.model, "pool": self.config.name, "role": str(role), "kv_blocks_16": ""}
