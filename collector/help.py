"""What each command teaches with --help."""

from __future__ import annotations

from typing import Final

COLLECT: Final = """Sample every GPU once a second through NVML, follow the kernel log for Xids, and queue both durably.

With kafka.bootstrap_servers set the queue is shipped to Kafka; without it `foreshock ingest` on the same
machine reads the queue itself. NVML runs in a child process: a hang costs one GPU its sample, no more.

  foreshock collect --once --stdout       one row per GPU, to look at
  foreshock collect                       the agent, until stopped"""

INGEST: Final = """One worker of the ingest group. Start as many as there are partitions; they share nothing.

Each minute of the stream becomes rollups, features and a risk per GPU, and everything lands once in the lake,
also when a worker is killed at any moment."""

WATCH: Final = """Turn risks and terminal Xids into one incident per GPU and one signed webhook per action.

Starts in dry run (watch.dry_run = true): decisions are recorded and nothing is sent until you arm it."""

INCIDENTS: Final = """List what is open, show one as the on-call engineer reads it, acknowledge, silence, write a note.

While an incident is silenced it asks for nothing new; what it asked before stands. Words go through the stream
(topic foreshock.operator) to the watcher and into the log: who may write to that topic may speak.

  foreshock incidents
  foreshock incidents show inc-20260101T000000-1234abcd
  foreshock incidents ack 1234abcd --text "on it"
  foreshock incidents silence 1234abcd --for 2"""

DEAD_LETTERS: Final = """List the messages that were given up: refused for good, or not taken in watch.deliver_for_s.

A retried message starts anew; the watcher that runs, or runs next, takes it up.

  foreshock dead-letters --json
  foreshock dead-letters --retry inc-20260101T000000-1234abcd.drain"""

BRIDGE: Final = """Receive signed webhooks and act: checkpoint the job, drain the node.

  slurm       scontrol; drains carry our own reason, and nobody else's drain is ever touched
  kubernetes  a taint and a condition of our own, pods told or evicted (with your leave)
  command     signal the processes of a pid directory, run a command of yours to drain

Starts in dry run (bridge.dry_run = true). A process that does not handle the signal never gets it."""

DEMO: Final = """Eight simulated GPUs, a real agent, worker, watcher and bridge, and a real training process.

One GPU develops a synthetic fault; watch the risk rise, the checkpoint land and the GPU die. Needs no GPU, no
broker and no root. Time runs faster than the clock, and the view says by how much.

  foreshock demo --trace h100.csv         replay a recorded trace under the same fault"""

SQL: Final = """Ask the lake. Views: `foreshock sql` lists them.

  foreshock sql "SELECT node, gpu_index, risk FROM risk_now ORDER BY risk DESC LIMIT 5"
  foreshock sql --json "SELECT * FROM incidents_now" """

ETTR: Final = """Effective training time of each job and of the fleet, as the lake has seen it, and what took the rest.

What is lost is split by cause: checkpoints, work done again, detection, scheduling, restart, our own alarms (right
and wrong), idle GPUs, and what nobody saw. The causes add up to the span; the definition stands under the table,
because numbers of other sites have others. `docs/effective-time.md` says how to read it.

  foreshock ettr --since 2026-01-01
  foreshock ettr --job 4711 --json
  foreshock ettr --plot losses.png"""

TOP: Final = """The fleet in a terminal, drawn again every few seconds: q or Ctrl-C ends. It only reads the lake.

First counts, and how old the newest reading is; then the riskiest GPUs, each against the alarm level of the model
that scored it (the tick on the bar); open incidents, and what was done about each; below, one character per node,
which is its worst GPU:  X lost  H hung  ! error  # at the alarm level  ? silent  + half the alarm level  . calm
_ never scored. Marks say all that colours say: NO_COLOR=1, a dumb terminal and 80 columns do.

  foreshock top
  foreshock top --node 'rack7-*'             only these nodes
  foreshock top --once | mail -s fleet me    one frame
  foreshock top --json | jq .alarms          one object for programs"""

DASHBOARD: Final = (
    "Serve the dashboard on dashboard.listen (default 127.0.0.1:8501). It only reads, unless dashboard.may_write lets "
    "people acknowledge, silence and note incidents from it."
)

DOCTOR: Final = (
    """Check NVML, kernel log, spool, Kafka, lake, schedulers and webhook. Exit 1 if something is broken."""
)

DECODE: Final = """Read kernel log lines in any wrapping (kmsg, dmesg, journald, syslog, container JSON); print one JSON
object per line, `null` where the line is no NVIDIA event.

  dmesg | foreshock xid decode | grep -v null"""

EXPLAIN: Final = """What the code means, whether the GPU is gone, what NVIDIA says and what Foreshock does.

  foreshock xid explain 79"""


DIFF: Final = """Our action for each Xid beside NVIDIA's and those of eight public tools, and why we differ.

  foreshock xid diff --differing
  foreshock xid diff 63 94"""

EVALUATE: Final = """Our models beside their baselines, without looking ahead.

Decisions are made after a cut, learning ends a whole horizon (and window) before it, and intervals resample whole
servers or cards. Real and synthetic data are never on one page.

  foreshock evaluate --dataset nodetrace --data DIR   400 servers of 8 GPUs (InfiniteHBD trace): who fails within days
  foreshock evaluate --dataset titan --data DIR       K20X cards, 2014-2019 (Titan GPU life): the same
  foreshock evaluate --dataset lake                   this site: the imminence head on later days
  foreshock evaluate --dataset simulated --out DIR    the same on a simulated fleet (SYNTHETIC)"""
