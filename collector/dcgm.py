"""A dcgm-exporter's `/metrics` text -> the same telemetry rows that the NVML agent makes.

Pure, and it never raises for the text: what cannot be used is null and counted by reason, or a problem. Each
line is parsed by itself with prometheus_client, because one bad line would cost the whole text, and without its
TYPE line, because the library appends `_total` to the names of counters that the exporter does not give.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from collector import dcgm_labels as labels_of
from collector.batch import Row
from collector.dcgm_fields import (
    METRICS,
    RATIO_OR_PERCENT,
    UNDERSTOOD,
    XID_IN_WINDOW,
    XID_LAST,
    XID_TOTAL,
    Metric,
)
from collector.dcgm_gpu import Gpu, Series, identify, put_together, row, state_of
from collector.dcgm_values import reading, refusal
from collector.dcgm_xid import GpuKey, Xids

MAX_SAMPLES = 500_000
"""Series taken from one text: about 1,000 nodes. More is cut off, and is a problem."""
_MAX_LINE = 4096
_MAX_EXAMPLE = 160


@dataclass(frozen=True, slots=True)
class Problem:
    """Something in the text that could not be used, how often, and the first one."""

    reason: str
    count: int
    example: str


@dataclass(frozen=True, slots=True)
class Scrape:
    """What one text says. `rows` are in the order of `records.FIELDS`, `gap_s` null."""

    gpus: list[Gpu]
    rows: list[Row]
    events_state: dict[GpuKey, Xids]
    """What the Xid series say now; `dcgm_xid.events` compares two of these."""
    nulls: dict[str, int]
    """Readings that became null, by reason: blanks, corrupt and impossible values, MIG."""
    problems: list[Problem]
    samples: int
    """Series of this exporter in the text."""


class _Problems:
    def __init__(self) -> None:
        self._count: Counter[str] = Counter()
        self._first: dict[str, str] = {}

    def add(self, reason: str, example: str) -> None:
        self._count[reason] += 1
        self._first.setdefault(reason, example[:_MAX_EXAMPLE])

    def list(self) -> list[Problem]:
        return [Problem(r, n, self._first[r]) for r, n in sorted(self._count.items())]


def parse(text: str, now_s: float, node: str, *, by_label: bool = False, synthetic: bool = False) -> Scrape:
    """Read one `/metrics` text. `node` names its node, unless the text tells of several (or `by_label`).

    In a federated text, and with `by_label`, the node is the Hostname label (else the scrape target's host).
    Kubernetes exporters often put their pod's name into Hostname: name the node where there is only one.
    """
    problems, nulls = _Problems(), Counter[str]()
    samples = list(_samples(text, problems))
    reader = _Reader(samples, node, problems, nulls, by_label=by_label)
    for sample in samples:
        reader.read(sample, now_s)
    seen = list(reader.seen.values())
    for one in seen:
        put_together(one, nulls)
    if not seen:
        problems.add("no_gpus", text.lstrip()[:_MAX_EXAMPLE])
    return Scrape(
        gpus=[s.gpu for s in seen],
        rows=[row(s.gpu, now_s, state_of(s.gpu), gap_s=None, synthetic=synthetic) for s in seen],
        events_state={s.gpu.key: s.xids for s in seen},
        nulls=dict(nulls),
        problems=problems.list(),
        samples=len(samples),
    )


def _samples(text: str, problems: _Problems) -> Iterator[Sample]:
    taken = 0
    for raw in text.split("\n"):
        line = raw.strip()
        if not line.startswith(("DCGM_", "dcgm_")):
            continue  # comments, and what is not this exporter's
        if taken >= MAX_SAMPLES:
            problems.add("too_many_series", line)
            return
        taken += 1
        if len(line) > _MAX_LINE:
            problems.add("line_too_long", line)
            continue
        try:
            yield next(iter(text_string_to_metric_families(line))).samples[0]
        except (ValueError, LookupError, OverflowError, StopIteration):
            problems.add("unreadable_line", line)


class _Reader:
    """Sorts series by GPU. Knows what only the whole text tells: hosts, UUIDs by index, percent or ratio."""

    def __init__(
        self, samples: list[Sample], node: str, problems: _Problems, nulls: Counter[str], *, by_label: bool
    ) -> None:
        self.seen: dict[GpuKey, Series] = {}
        self._problems = problems
        self._nulls = nulls
        places = [labels_of.place(s.labels) for s in samples]
        hosts = {p.host for p in places if p.host}
        self._node = node
        self._by_label = by_label or len(hosts) > 1
        self._uuids: dict[tuple[str, int | None], str] = {
            (self._node_of(p), p.index): p.uuid for p in places if p.uuid and p.index is not None
        }
        self._in_percent = {
            self._node_of(p)
            for p, s in zip(places, samples, strict=True)
            if s.name in RATIO_OR_PERCENT and refusal(s.value) is None and 1.01 < s.value <= 100
        }

    def _node_of(self, where: labels_of.Place) -> str:
        return where.host if self._by_label and where.host else self._node

    def read(self, sample: Sample, now_s: float) -> None:
        where = labels_of.place(sample.labels)
        node = self._node_of(where)
        uuid = where.uuid or self._uuids.get((node, where.index))
        if uuid is None:
            self._problems.add("no_gpu_uuid", f"{sample.name}{sample.labels}")
            return
        seen = self.seen.get((node, uuid))
        if seen is None:
            seen = self.seen[node, uuid] = Series(Gpu(node, uuid))
        identify(seen.gpu, where, sample, now_s)
        metric = METRICS.get(sample.name)
        if metric is not None:
            self._take(seen, metric, sample)
        elif sample.name in UNDERSTOOD:
            self._take_other(seen, sample)

    def _take(self, seen: Series, metric: Metric, sample: Sample) -> None:
        factor = metric.factor
        if sample.name in RATIO_OR_PERCENT and seen.gpu.node in self._in_percent:
            factor = 1.0
        value, why = reading(metric.column, sample.value, factor)
        if value is None:
            self._nulls[why or ""] += 1
            seen.gpu.refused += 1
            return
        instance = labels_of.instance_id(sample.labels)
        lane = sample.labels.get("nvlink") if metric.lane is None else str(metric.lane)
        if lane is not None and metric.column.startswith("nvlink"):
            seen.lanes.setdefault(metric.column, {}).setdefault(lane, value)
        elif instance is not None:
            seen.instances.setdefault(metric.column, {}).setdefault(instance, value)
        else:
            self._take_whole(seen, metric, value, sample)

    def _take_whole(self, seen: Series, metric: Metric, value: float, sample: Sample) -> None:
        before = seen.whole.get(metric.column)
        if before is None or metric.rank < before[0]:
            seen.whole[metric.column] = metric.rank, value
        elif before[0] == metric.rank and before[1] != value:
            # One GPU, one name, two values (shared GPUs repeat a series per pod): the first one stays.
            self._problems.add("series_disagree", f"{sample.name}{sample.labels} {sample.value}")

    def _take_other(self, seen: Series, sample: Sample) -> None:
        name, labels = sample.name, sample.labels
        why = refusal(sample.value)
        if why is not None:
            self._nulls[why] += 1
        elif name in XID_LAST:
            seen.xids.see_last(sample.value, labels.get("err_msg", ""))
        elif name in XID_IN_WINDOW or name == XID_TOTAL:
            seen.xids.see_count(labels.get("xid", ""), sample.value, total=name == XID_TOTAL)
