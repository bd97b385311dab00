"""`foreshock bridge kubernetes`: the scheduler's side of an action, through the API server.

It owns what it did: our taint, cordon, condition, annotations, rules and requests carry the incident, two
incidents of a node hold it together, and nobody else's is set or lifted. One bridge per cluster.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock

from alerting.action import Action, Outcome
from alerting.kubernetes_api import Api, Object, node_path
from alerting.kubernetes_device import devices, pods_of, taint_device, untaint_devices
from alerting.kubernetes_evict import evict
from alerting.kubernetes_hold import TAINT_KEY, Hold, give_back_patch, holder, read_hold, take_patch
from alerting.kubernetes_notice import notices
from alerting.kubernetes_nvsentinel import is_managed, request_maintenance, withdraw_maintenance
from alerting.kubernetes_pods import Choice, choose, pods_on, tell, untell
from collector.config import BridgeConfig
from collector.errors import ForeshockError


class KubernetesAdapter:
    """Every call bears being made twice."""

    def __init__(self, config: BridgeConfig, wait: Callable[[float], None] = time.sleep) -> None:
        """Raises ConfigError when there is no API server to talk to. `wait` takes seconds."""
        self._api = Api(config, wait)
        self._config = config
        self._nodes = Lock()  # a release must not delete what a drain of the same node is about to count on

    def checkpoint(self, action: Action) -> Outcome:
        """Annotate the pods on this GPU. Advisory: Kubernetes has no "save and go on" and no word for "saved"."""
        node_path(action.node)
        choice = self._choose(action)
        if not choice.pods:
            return Outcome(ok=False, detail=f"no pod on {action.node} holds a GPU; advisory only")
        problems = tell(self._api, choice.pods, action.incident_id)
        detail = _line(f"advisory: {_told(choice)}", *problems)
        return Outcome(ok=not problems, detail=_line(detail, *notices(self._api, action, detail)))

    def drain(self, action: Action) -> Outcome:
        """Keep new work off the GPU where DRA knows it, else off the node. Running pods stay."""
        with self._nodes:
            done = self._keep_off(action)
            return Outcome(ok=True, detail=_line(done, *notices(self._api, action, done)))

    def migrate(self, action: Action) -> Outcome:
        """Keep new work off the node, tell the pods on this GPU, and, where the operator wants it, evict them."""
        with self._nodes:
            done = self._keep_off(action)
            done = _line(done, *notices(self._api, action, done))
        try:
            choice = self._choose(action)
        except ForeshockError as e:
            return Outcome(ok=False, detail=_line(done, f"pods not told: {e}"))
        if not choice.pods:
            return Outcome(ok=True, detail=_line(done, "no pod holds a GPU"))
        problems = tell(self._api, choice.pods, action.incident_id)
        is_gone, gone = self._evict(choice)
        return Outcome(ok=is_gone and not problems, detail=_line(done, _told(choice), *problems, gone))

    def release(self, action: Action) -> Outcome:
        """Take back what this incident set. The taint stays while another incident holds the node."""
        with self._nodes:
            done, problems = self._give_back(action)
            problems += self._untell(action)
            detail = _line(done, *problems)
            said = notices(self._api, action, detail)
        return Outcome(ok=not problems, detail=_line(detail, *said))

    def close(self) -> None:
        self._api.close()

    def _keep_off(self, action: Action) -> str:
        """What now keeps new work off, in words. Raises ForeshockError when nothing does."""
        why_not: list[str] = []
        tainted = (
            self._tried(self._taint_device, action, why_not) if self._config.kubernetes_device_taint else ""
        )
        is_now = action.action == "drain_now"
        request = (
            self._tried(self._hand_over, action, why_not)
            if is_now and self._config.kubernetes_nvsentinel
            else ""
        )
        needs_node = not request and (is_now or not tainted)
        hold, is_new = self._hold(action, needs_node=needs_node, handed_over=bool(request))
        node = _node_words(action.node, hold, is_new=is_new) if needs_node else ""
        return _line(tainted, request, node, *why_not)

    def _hold(self, action: Action, *, needs_node: bool, handed_over: bool) -> tuple[Hold, bool]:
        """Write the annotation, the taint and the cordon in one patch. -> what holds, and whether it is new."""
        path = node_path(action.node)
        wanted = holder(action, node=needs_node, handed_over=handed_over)

        def change(node: Object) -> Object | None:
            return take_patch(node, action.incident_id, wanted, cordon=self._config.kubernetes_cordon)

        is_new = self._api.edit(path, change)
        return read_hold(self._api.get(path)), is_new

    def _tried(self, step: Callable[[Action], str], action: Action, why_not: list[str]) -> str:
        """A better way than the node's taint, which is what is left when it does not work."""
        try:
            return step(action)
        except ForeshockError as e:
            why_not.append(f"hence not per GPU or handed over: {e}")
            return ""

    def _taint_device(self, action: Action) -> str:
        found = devices(self._api, action.node, action.gpu_uuid)
        if not found:
            raise ForeshockError(f"no ResourceSlice of {action.node} has {action.gpu_uuid}")
        for device in found:
            taint_device(self._api, device, action.incident_id)
        return f"device {', '.join(f'{d.pool}/{d.name}' for d in found)} tainted {TAINT_KEY}:NoSchedule"

    def _hand_over(self, action: Action) -> str:
        if not is_managed(self._api.get(node_path(action.node))):
            raise ForeshockError(f"{action.node} is opted out of NVSentinel by label")
        name = request_maintenance(self._api, action)
        return f"MaintenanceRequest {name}: NVSentinel cordons and drains {action.node}"

    def _give_back(self, action: Action) -> tuple[str, list[str]]:
        """-> what was lifted, in words, and what could not be."""
        path = node_path(action.node)
        is_lifted = self._api.edit(path, lambda node: give_back_patch(node, action.incident_id))
        hold = read_hold(self._api.get(path))
        done = [_left_words(action, hold, is_lifted=is_lifted)]
        problems: list[str] = []
        if self._config.kubernetes_device_taint:
            try:
                done.append(f"{untaint_devices(self._api, action.incident_id)} device taint rules deleted")
            except ForeshockError as e:
                problems.append(f"device taint rules not deleted: {e}")
        if self._config.kubernetes_nvsentinel and not hold.is_handed_over:
            try:
                done += ["MaintenanceRequest deleted"] * withdraw_maintenance(self._api, action.node)
            except ForeshockError as e:
                problems.append(f"MaintenanceRequest not deleted: {e}")
        return _line(*done), problems

    def _choose(self, action: Action) -> Choice:
        """Raises ForeshockError where pods cannot be listed."""
        capacity = (self._api.get(node_path(action.node)).get("status") or {}).get("capacity") or {}
        gpus = str(capacity.get("nvidia.com/gpu", ""))
        claimed, why_not = self._claimed(action) if self._config.kubernetes_device_taint else (set(), "")
        text = f"{action.summary} {action.detail}"
        pods = pods_on(self._api, action.node)
        choice = choose(pods, text, claimed, int(gpus) if gpus.isdigit() else None)
        return choice._replace(how=f"{choice.how}; {why_not}") if why_not else choice

    def _claimed(self, action: Action) -> tuple[set[str], str]:
        """Uids by DRA. Where it cannot say, the device plugin's way is left, and why is in words."""
        try:
            found = devices(self._api, action.node, action.gpu_uuid)
            return (pods_of(self._api, found) if found else set()), ""
        except ForeshockError as e:
            return set(), f"resource claims not read: {e}"

    def _untell(self, action: Action) -> list[str]:
        try:
            return untell(self._api, pods_on(self._api, action.node), action.incident_id)
        except ForeshockError as e:
            return [f"pod annotations not removed: {e}"]

    def _evict(self, choice: Choice) -> tuple[bool, str]:
        """-> whether all is as the operator wants it, and in words."""
        if not self._config.kubernetes_evict:
            return True, "eviction is off (bridge.kubernetes_evict): they run until they end"
        if not choice.is_known and not self._config.kubernetes_evict_all:
            return False, "none evicted: see bridge.kubernetes_evict_all"
        evicted = evict(
            self._api, choice.pods,
            grace_s=self._config.kubernetes_evict_grace_s, for_s=self._config.kubernetes_evict_for_s,
        )  # fmt: skip
        left = f"not evicted: {', '.join(evicted.left)}" if evicted.left else ""
        gone = f"evicted: {', '.join(evicted.gone)}" if evicted.gone else ""
        return not evicted.left, _line(gone, left)


def _told(choice: Choice) -> str:
    names = ", ".join(pod.label for pod in choice.pods)
    return f"told to checkpoint by annotation: {names} ({choice.how}); nothing says yet that they saved"


def _node_words(node: str, hold: Hold, *, is_new: bool) -> str:
    if not hold.taint:
        return f"{node} has the taint {TAINT_KEY} already, by somebody else: left alone"
    cordon = " and cordoned" if hold.cordon else ""
    words = f"tainted {TAINT_KEY}={hold.taint_value}:NoSchedule{cordon}"
    return f"{node} {words}" if is_new else f"{node} is {words} already"


def _left_words(action: Action, hold: Hold, *, is_lifted: bool) -> str:
    if not is_lifted:
        return f"{action.incident_id} holds nothing of {action.node}"
    others = ", ".join(sorted(name for name, part in hold.incidents.items() if part.node))
    return f"{action.node}: {f'the taint stays for {others}' if others else 'our hold is lifted'}"


def _line(*parts: str) -> str:
    return "; ".join(part for part in parts if part)
