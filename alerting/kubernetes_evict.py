"""Ask pods to go through the Eviction API: SIGTERM, the grace period, and every PodDisruptionBudget honoured.

A budget that says no is 429 and is asked again for a bounded time; it is never gone round by a plain delete.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from alerting.kubernetes_api import Api, ApiError, Object
from alerting.kubernetes_pods import Pod

_PAUSE_S: Final = 5.0
_LONGEST_PAUSE_S: Final = 15.0
_SERVER_AWAY: Final = frozenset({502, 503, 504})  # 429 is a budget here, and 500 two budgets on one pod


class Evicted(NamedTuple):
    """Labels of the pods that got SIGTERM (or had gone), and of those that stay, with the reason."""

    gone: list[str]
    left: list[str]


class _Answer(NamedTuple):
    state: Literal["gone", "wait", "refused"]
    why: str
    pause_s: float


def evict(api: Api, pods: list[Pod], *, grace_s: float, for_s: float) -> Evicted:
    """Evict each pod once; those that a budget holds are asked again until `for_s` seconds of waiting are spent.

    `grace_s` 0 means each pod's own grace period; it is never sent as 0, which would be SIGKILL at once.
    """
    gone: list[str] = []
    left = [f"{p.label} (DaemonSet or static pod)" for p in pods if not p.is_evictable]
    waiting = {p.label: p for p in pods if p.is_evictable}
    waited_s = 0.0
    while waiting:
        answers = {label: _ask(api, pod, grace_s) for label, pod in waiting.items()}
        gone += [label for label, answer in answers.items() if answer.state == "gone"]
        left += [f"{label} ({a.why})" for label, a in answers.items() if a.state == "refused"]
        held = {label: answer for label, answer in answers.items() if answer.state == "wait"}
        if not held:
            break
        pause_s = max(answer.pause_s for answer in held.values())
        if waited_s + pause_s > for_s:
            left += [f"{label} ({answer.why})" for label, answer in held.items()]
            break
        api.wait(pause_s)
        waited_s += pause_s
        waiting = {label: waiting[label] for label in held}
    return Evicted(gone, left)


def _ask(api: Api, pod: Pod, grace_s: float) -> _Answer:
    answer = api.request("POST", f"{pod.path}/eviction", body=eviction(pod, grace_s), busy=_SERVER_AWAY)
    if answer.is_success or answer.status_code in (404, 409):  # gone, or its name is another pod's by now
        return _Answer("gone", "", 0.0)
    error = ApiError(f"eviction of {pod.label}", answer)
    if answer.status_code != 429:
        return _Answer("refused", str(error), 0.0)
    asked_s = answer.headers.get("retry-after", "")
    pause_s = float(asked_s) if asked_s.isdigit() else _PAUSE_S
    return _Answer("wait", str(error), min(max(pause_s, 1.0), _LONGEST_PAUSE_S))


def eviction(pod: Pod, grace_s: float) -> Object:
    """The policy/v1 Eviction of this very pod: a later one of the same name has another uid."""
    options: Object = {"preconditions": {"uid": pod.uid}}
    if grace_s > 0:
        options["gracePeriodSeconds"] = max(1, round(grace_s))
    return {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": pod.name, "namespace": pod.namespace},
        "deleteOptions": options,
    }
