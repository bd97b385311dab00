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
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

from alerting import arguments as alerting_arguments
from collector import help
from collector.config import Config
from collector.config_file import load
from collector.errors import ConfigError, ForeshockError, NotInstalledError
from effective_time import arguments as whatif_arguments
from models import arguments

Command = Callable[[argparse.Namespace, Config], int]

_EXTRA_OF = {
    "polars": "server", "duckdb": "server", "deltalake": "server", "numpy": "server", "sklearn": "server",
    "scipy": "server", "skops": "server", "standardwebhooks": "server", "httpx2": "server", "starlette": "server",
    "uvicorn": "server", "rich": "server", "pytz": "server", "matplotlib": "server", "streamlit": "dashboard",
    "altair": "dashboard", "nvidia": "demo",
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
        return run(args, _configured(args.config))
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


def _configured(path: str | None) -> Config:
    """The configuration, with the site's own words on Xids in force."""
    config = load(path)
    if config.collector.xid_overrides:
        from collector import xid_catalogue
        from collector.xid_overrides import load_overrides

        xid_catalogue.use(load_overrides(config.collector.xid_overrides))
    return config


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

    if args.dcgm:
        config = replace(config, collector=replace(config.collector, dcgm_url=args.dcgm))
    if args.once:
        return once(config, to_stdout=args.stdout, out=sys.stdout)
    if args.stdout:
        return stream_to_stdout(config, sys.stdout, _until_stopped())
    return to_spool(config, _until_stopped())


def _ingest(args: argparse.Namespace, config: Config) -> int:
    from collector.notify import Notifier
    from models.serving import Serving
    from pipeline.ingest import TOPICS, Worker
    from pipeline.lake import Lake
    from pipeline.stream import open_stream
    from pipeline.upkeep import Upkeep

    stop, clock, lake = _until_stopped(), config.make_clock(), Lake(config.lake.path)
    stream = open_stream(config, config.kafka.ingest_group, TOPICS)
    Upkeep(lake, config.upkeep).start(stop, clock)
    worker = Worker(stream, lake, scorer := Serving(config.models.registry), config.ingest, clock)
    Notifier().ready(f"scored by {scorer.model_id}")
    worker.run(stop)
    return 0


def _watch(args: argparse.Namespace, config: Config) -> int:
    from alerting.serve import watch

    watch(config, _until_stopped())
    return 0


def _bridge(args: argparse.Namespace, config: Config) -> int:
    from alerting.serve import bridge

    bridge(config, args.adapter, _until_stopped())
    return 0


def _incidents(args: argparse.Namespace, config: Config) -> int:
    from alerting.incidents_cli import run

    return run(args, config, sys.stdout)


def _dead_letters(args: argparse.Namespace, config: Config) -> int:
    from alerting.dead_letters import run

    return run(config.watch, sys.stdout, again=args.retry, as_json=args.json)


def _sql(args: argparse.Namespace, config: Config) -> int:
    from pipeline.sql_cli import run

    if args.publish:
        from pipeline.lake import Lake
        from pipeline.publish import publish

        print(publish(Lake(config.lake.path).files, Path(args.publish)))
        return 0
    return run(args.query, config, sys.stdout, fmt="json" if args.json else "csv" if args.csv else "table")


def _ettr(args: argparse.Namespace, config: Config) -> int:
    from pipeline.effective_time_cli import run

    return run(args, config.lake.path, sys.stdout)


def _whatif(args: argparse.Namespace, config: Config) -> int:
    from effective_time.whatif_cli import run

    return run(args, config, sys.stdout, sys.stderr)


def _evaluate(args: argparse.Namespace, config: Config) -> int:
    if args.dataset in ("lake", "simulated"):
        from models.telemetry_cli import evaluate

        return evaluate(args, config, sys.stdout)
    from models.evaluate import run

    if not args.data:
        raise ForeshockError(
            f"--dataset {args.dataset} needs the folder of its data", hint="give --data PATH"
        )
    return run(
        args.dataset, args.data, sys.stdout, as_json=args.json, directory=args.out or "", card=args.card or ""
    )


def _train(args: argparse.Namespace, config: Config) -> int:
    from models.telemetry_cli import train

    return train(args, config, sys.stdout)


def _models(args: argparse.Namespace, config: Config) -> int:
    from models.registry_cli import run

    return run(args, config.models.registry, sys.stdout, config.lake.path)


def _dashboard(args: argparse.Namespace, config: Config) -> int:
    from dashboard.serve import run

    return run(config)


def _top(args: argparse.Namespace, config: Config) -> int:
    from dashboard.terminal.top import run

    return run(args, config, sys.stdout)


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


def _xid_diff(args: argparse.Namespace, config: Config) -> int:
    from collector.xid_diff import run_diff

    return run_diff(args.json, sys.stdout, only=args.code, differing=args.differing)


def _xid_explain(args: argparse.Namespace, config: Config) -> int:
    from collector.xid_cli import run_explain

    return run_explain(" ".join(args.code), as_json=args.json, stdout=sys.stdout)


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no time like 2026-01-31T12:00") from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


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
    add(
        "decode",
        _xid_decode,
        "kernel log lines on stdin -> one JSON (or null) per line",
        help.DECODE,
        to=xids,
    )
    explain = add("explain", _xid_explain, "what a code means and what to do", help.EXPLAIN, to=xids)
    explain.add_argument("code", nargs="+", help="79, or: sxid 12028")
    explain.add_argument("--json", action="store_true", help="one JSON object")
    diff = add("diff", _xid_diff, "what we, NVIDIA and other tools make of each code", help.DIFF, to=xids)
    diff.add_argument("code", nargs="*", type=int, help="only these codes")
    diff.add_argument("--differing", action="store_true", help="only where we differ from NVIDIA")
    diff.add_argument("--json", action="store_true", help="a JSON array")
    return parser


def _add_services(add: Callable[..., _Parser]) -> None:
    collect = add("collect", _collect, "the node agent: NVML and kernel log -> spool -> stream", help.COLLECT)
    collect.add_argument("--dcgm", metavar="URL", help="read an existing dcgm-exporter in place of NVML")
    collect.add_argument("--once", action="store_true", help="one tick, then end")
    collect.add_argument(
        "--stdout", action="store_true", help="print rows and events as JSON lines; touch nothing else"
    )
    add("ingest", _ingest, "the worker: stream -> rollups, features, risks, lake", help.INGEST)
    add("watch", _watch, "risks and events -> incidents and signed webhooks", help.WATCH)
    bridge = add("bridge", _bridge, "receive webhooks and act on a scheduler", help.BRIDGE)
    incidents = add("incidents", _incidents, "what is open; acknowledge, silence, note", help.INCIDENTS)
    alerting_arguments.add_incidents(incidents)
    letters = add("dead-letters", _dead_letters, "what no receiver took, and why", help.DEAD_LETTERS)
    letters.add_argument("--json", action="store_true", help="a JSON array")
    letters.add_argument("--retry", metavar="ID", help="send this one again, in place of the list")
    bridge.add_argument("adapter", choices=("slurm", "kubernetes", "command"), help="what to act on")


def _add_questions(add: Callable[..., _Parser]) -> None:
    demo = add("demo", _demo, "the whole chain on this machine, with a synthetic fault", help.DEMO)
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
    sql = add("sql", _sql, "ask the lake (read-only)", help.SQL)
    sql.add_argument(
        "query", nargs="?", default="", help="one SELECT, or - for stdin; without it: list the views"
    )
    sql.add_argument(
        "--publish", metavar="FILE", help="write a read-only DuckDB catalogue for other tools, and end"
    )
    shape = sql.add_mutually_exclusive_group()
    shape.add_argument("--json", action="store_true", help="a JSON array of rows")
    shape.add_argument("--csv", action="store_true", help="CSV with a header")
    ettr = add("ettr", _ettr, "effective training time as measured, and what took the rest", help.ETTR)
    ettr.add_argument("--job", metavar="NAME", help="this one (default: all)")
    ettr.add_argument(
        "--since", metavar="ISO", type=_moment, help="from here, UTC unless it says (default: all)"
    )
    ettr.add_argument("--until", metavar="ISO", type=_moment, help="up to here (default: now)")
    ettr.add_argument("--json", action="store_true", help="one JSON object: fleet, jobs, interruptions")
    ettr.add_argument("--plot", metavar="FILE.png", help="the loss by cause as stacked bars")
    whatif = add("whatif", _whatif, "what prediction would be worth to a job", whatif_arguments.WHATIF)
    whatif_arguments.add_whatif(whatif)
    evaluate = add(
        "evaluate", _evaluate, "how well faults are foretold, on real fault histories", help.EVALUATE
    )
    evaluate.add_argument(
        "--dataset", choices=("lake", "simulated", "nodetrace", "titan"), required=True, help="which history"
    )
    evaluate.add_argument(
        "--data", metavar="PATH", default="", help="the folder it lies in (lake: lake.path)"
    )
    evaluate.add_argument("--json", action="store_true", help="one JSON object in place of the table")
    evaluate.add_argument("--out", metavar="DIR", help="write evaluation.json, model-card.md and plots there; a "
        "simulated run of hours keeps evaluation-so-far.json there while it runs")  # fmt: skip
    evaluate.add_argument("--card", metavar="FILE", help="write the model card to this file")
    telemetry = evaluate.add_argument_group("lake and simulated")
    arguments.add_simulation(telemetry)
    telemetry.add_argument("--save", action="store_true", help="put the model into the registry too")
    telemetry.add_argument(
        "--sweep-gpus", type=int, default=0, metavar="N",
        help="learn anew on fleets of N GPUs with low, high and no share of precursors (default: not)",
    )  # fmt: skip
    train = add(
        "train", _train, "learn a model of imminent faults, with a card of what it did", arguments.TRAIN
    )
    arguments.add_train(train)
    models = add("models", _models, "the registry: list, promote, roll back", arguments.MODELS)
    arguments.add_models(models)
    add("dashboard", _dashboard, "the ops dashboard in a browser", help.DASHBOARD)
    top = add("top", _top, "the fleet in a terminal: risks, incidents, one mark per node", help.TOP)
    once = top.add_mutually_exclusive_group()
    once.add_argument("--once", action="store_true", help="one frame, then end")
    once.add_argument("--json", action="store_true", help="one JSON object, then end")
    top.add_argument(
        "--every", type=float, default=2.0, metavar="S", help="seconds between frames (default: 2)"
    )
    top.add_argument(
        "--node", default="*", metavar="PATTERN", help="only nodes of this name: node00*, rack7-*"
    )
    doctor = add("doctor", _doctor, "what works on this machine, and the mend for what does not", help.DOCTOR)
    doctor.add_argument("--json", action="store_true", help="a JSON array of checks")


if __name__ == "__main__":
    sys.exit(main())
