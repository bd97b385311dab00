"""The front door: the `foreshock` command. Every command is a few lines that call a room."""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from typing import NoReturn

from collector.config import Config, load
from collector.errors import ConfigError, ForeshockError, NotInstalledError

Command = Callable[[argparse.Namespace, Config], int]

_EXTRA_OF = {
    "polars": "server", "duckdb": "server", "deltalake": "server", "numpy": "server", "sklearn": "server",
    "skops": "server", "standardwebhooks": "server", "httpx2": "server", "starlette": "server",
    "uvicorn": "server", "rich": "server", "pytz": "server", "streamlit": "dashboard", "altair": "dashboard",
    "nvidia": "demo",
}  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Exit codes: 0 done, 1 failed, 2 wrong use, config or missing extra."""
    if argv is None and os.environ.get("PYTHONPATH") and not sys.flags.isolated:
        # Our packages have plain names; nobody's PYTHONPATH may put another `pipeline` before them.
        os.execv(sys.executable, [sys.executable, "-I", "-m", "foreshock", *sys.argv[1:]])  # noqa: S606
    args = _parser().parse_args(argv)
    logging.basicConfig(
        level=logging.DEBUG if args.verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    for chatty in ("kafka", "httpx2", "httpcore2"):
        logging.getLogger(chatty).setLevel(logging.ERROR)
    run: Command = args.run
    try:
        return run(args, load(args.config))
    except ForeshockError as e:
        return _fail(str(e), e.hint, 2 if isinstance(e, ConfigError | NotInstalledError) else 1)
    except ModuleNotFoundError as e:
        extra = _EXTRA_OF.get((e.name or "").split(".")[0])
        if extra is None:
            raise
        return _fail(f"this command needs {e.name}", f"pip install 'foreshock[{extra}]'", 2)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _fail(message: str, hint: str, code: int) -> int:
    print(f"foreshock: {message}", file=sys.stderr)
    if hint:
        print(f"  Try: {hint}", file=sys.stderr)
    return code


def _until_stopped() -> threading.Event:
    """Set by SIGTERM and SIGINT, so that loops end in order."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def _demo(args: argparse.Namespace, config: Config) -> int:
    from demo.run import run

    return run(
        trace=args.trace,
        speed=args.speed,
        directory=args.directory,
        kafka=args.kafka,
        as_json=args.json,
        plain=args.plain,
    )


def _collect(args: argparse.Namespace, config: Config) -> int:
    from collector.collect import once, stream_to_stdout, to_spool

    if args.once:
        return once(config, to_stdout=args.stdout, out=sys.stdout)
    if args.stdout:
        return stream_to_stdout(config, sys.stdout, _until_stopped())
    return to_spool(config, _until_stopped())


def _ingest(args: argparse.Namespace, config: Config) -> int:
    from models.rules import RuleScorer
    from pipeline.ingest import TOPICS, Worker
    from pipeline.lake import Lake
    from pipeline.stream import open_stream

    stream = open_stream(config, config.kafka.ingest_group, TOPICS)
    worker = Worker(stream, Lake(config.lake.path), RuleScorer(), config.ingest, config.make_clock())
    worker.run(_until_stopped())
    return 0


def _watch(args: argparse.Namespace, config: Config) -> int:
    from alerting.serve import watch

    watch(config, _until_stopped())
    return 0


def _bridge(args: argparse.Namespace, config: Config) -> int:
    from alerting.serve import bridge

    bridge(config, args.adapter, _until_stopped())
    return 0


def _sql(args: argparse.Namespace, config: Config) -> int:
    from pipeline.sql_cli import run

    return run(args.query, config, sys.stdout, fmt="json" if args.json else "csv" if args.csv else "table")


def _dashboard(args: argparse.Namespace, config: Config) -> int:
    from dashboard.serve import run

    return run(config)


def _doctor(args: argparse.Namespace, config: Config) -> int:
    import msgspec

    from collector.doctor import run

    checks = run(config)
    if args.json:
        print(json.dumps([msgspec.to_builtins(c) for c in checks], indent=2))
    else:
        for c in checks:
            print(f"{c.status:7} {c.name:11} {c.detail}" + (f"\n{'':20}Try: {c.mend}" if c.mend else ""))
    return 1 if any(c.status == "broken" for c in checks) else 0


def _xid_decode(args: argparse.Namespace, config: Config) -> int:
    from collector.xid_cli import run_decode

    return run_decode(sys.stdin.buffer, sys.stdout)


def _xid_explain(args: argparse.Namespace, config: Config) -> int:
    from collector.xid_cli import run_explain

    return run_explain(" ".join(args.code), as_json=args.json, stdout=sys.stdout)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"foreshock: {message}\n  Try: {self.prog} --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="foreshock",
        description="Predict the GPU fault before it kills the training run.",
        epilog="See the whole chain work on this machine, without a GPU: foreshock demo",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--config", metavar="FILE", help="foreshock.toml (default: ./, ~/.config/foreshock/, /etc/foreshock/)"
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="log more, to stderr")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(
        name: str, run: Command, help_: str, text: str, *, to: argparse._SubParsersAction[_Parser] = commands
    ) -> _Parser:
        sub = to.add_parser(
            name, help=help_, description=text, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        sub.set_defaults(run=run)
        return sub

    _add_services(add)
    _add_questions(add)
    xid = commands.add_parser("xid", help="decode and explain Xid and SXid errors")
    xids = xid.add_subparsers(title="commands", metavar="COMMAND", required=True)
    add("decode", _xid_decode, "kernel log lines on stdin -> one JSON (or null) per line", _DECODE, to=xids)
    explain = add("explain", _xid_explain, "what a code means and what to do", _EXPLAIN, to=xids)
    explain.add_argument("code", nargs="+", help="79, or: sxid 12028")
    explain.add_argument("--json", action="store_true", help="one JSON object")
    return parser


def _add_services(add: Callable[..., _Parser]) -> None:
    collect = add("collect", _collect, "the node agent: NVML and kernel log -> spool -> stream", _COLLECT)
    collect.add_argument("--once", action="store_true", help="one tick, then end")
    collect.add_argument(
        "--stdout", action="store_true", help="print rows and events as JSON lines; touch nothing else"
    )
    add("ingest", _ingest, "the worker: stream -> rollups, features, risks, lake", _INGEST)
    add("watch", _watch, "risks and events -> incidents and signed webhooks", _WATCH)
    bridge = add("bridge", _bridge, "receive webhooks and act on a scheduler", _BRIDGE)
    bridge.add_argument("adapter", choices=("slurm", "kubernetes", "command"), help="what to act on")


def _add_questions(add: Callable[..., _Parser]) -> None:
    demo = add("demo", _demo, "the whole chain on this machine, with a synthetic fault", _DEMO)
    demo.add_argument(
        "--trace", metavar="FILE", help="recorded CSV trace to replay (default: our own simulation)"
    )
    demo.add_argument(
        "--speed", type=float, default=20.0, help="seconds of cluster time per second (default: 20)"
    )
    demo.add_argument(
        "--directory", default="demo-run", help="where to work (default: ./demo-run; emptied first)"
    )
    demo.add_argument(
        "--kafka",
        metavar="HOST:PORT",
        default="",
        help="go through this broker instead of the embedded stream",
    )
    demo.add_argument("--json", action="store_true", help="the story as one JSON object, no live view")
    demo.add_argument("--plain", action="store_true", help="no live view: one line per happening")
    sql = add("sql", _sql, "ask the lake (read-only)", _SQL)
    sql.add_argument(
        "query", nargs="?", default="", help="one SELECT, or - for stdin; without it: list the views"
    )
    shape = sql.add_mutually_exclusive_group()
    shape.add_argument("--json", action="store_true", help="a JSON array of rows")
    shape.add_argument("--csv", action="store_true", help="CSV with a header")
    add("dashboard", _dashboard, "the ops dashboard in a browser", _DASHBOARD)
    doctor = add("doctor", _doctor, "what works on this machine, and the mend for what does not", _DOCTOR)
    doctor.add_argument("--json", action="store_true", help="a JSON array of checks")


_COLLECT = """Sample every GPU once a second through NVML, follow the kernel log for Xids, and queue both durably.

With kafka.bootstrap_servers set the queue is shipped to Kafka; without it `foreshock ingest` on the same
machine reads the queue itself. NVML runs in a child process: a hang costs one GPU its sample, no more.

  foreshock collect --once --stdout       one row per GPU, to look at
  foreshock collect                       the agent, until stopped"""

_INGEST = """One worker of the ingest group. Start as many as there are partitions; they share nothing.

Each minute of the stream becomes rollups, features and a risk per GPU, and everything lands once in the lake,
also when a worker is killed at any moment."""

_WATCH = """Turn risks and terminal Xids into one incident per GPU and one signed webhook per action.

Starts in dry run (watch.dry_run = true): decisions are recorded and nothing is sent until you arm it."""

_BRIDGE = """Receive signed webhooks and act: checkpoint the job, drain the node.

  slurm       scontrol; drains carry our own reason, and nobody else's drain is ever touched
  kubernetes  a taint of our own on the node
  command     signal the processes of a pid directory, run a command of yours to drain

Starts in dry run (bridge.dry_run = true). A process that does not handle the signal never gets it."""

_DEMO = """Eight simulated GPUs, a real agent, worker, watcher and bridge, and a real training process.

One GPU develops a synthetic fault; watch the risk rise, the checkpoint land and the GPU die. Needs no GPU, no
broker and no root. Time runs faster than the clock, and the view says by how much.

  foreshock demo --trace h100.csv         replay a recorded trace under the same fault"""

_SQL = """Ask the lake. Views: `foreshock sql` lists them.

  foreshock sql "SELECT node, gpu_index, risk FROM risk_now ORDER BY risk DESC LIMIT 5"
  foreshock sql --json "SELECT * FROM incidents_now" """

_DASHBOARD = """Serve the dashboard on dashboard.listen (default 127.0.0.1:8501). It only reads the lake."""

_DOCTOR = (
    """Check NVML, kernel log, spool, Kafka, lake, schedulers and webhook. Exit 1 if something is broken."""
)

_DECODE = """Read kernel log lines in any wrapping (kmsg, dmesg, journald, syslog, container JSON); print one JSON
object per line, `null` where the line is no NVIDIA event.

  dmesg | foreshock xid decode | grep -v null"""

_EXPLAIN = """What the code means, whether the GPU is gone, what NVIDIA says and what Foreshock does.

  foreshock xid explain 79"""


if __name__ == "__main__":
    sys.exit(main())
