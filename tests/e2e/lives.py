"""Many short lives of a watcher's delivery: argv is a directory; each line on stdin begins a life, which is forked
here (the imports are paid for once) and is killed from outside. Prints `life PID`, and `decided N` in a life.

A life reads events.txt from where the last one committed, makes two actions and a change of each, keeps them in the
outbox, and only then commits: the order of `alerting.watch`, without its policy.
"""

import os
import sys
import threading
import time
from pathlib import Path

from alerting.action import decided_row
from alerting.delivery import deliver, wake
from alerting.message import Row
from alerting.notify import notices, open_sinks
from alerting.outbox import Outbox
from collector.clock import SystemClock
from collector.config import WatchConfig
from tests.alerting.change_rows import action, change


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def live(directory: Path, urls: list[str]) -> None:
    (hook, people) = urls
    config = WatchConfig(
        dry_run=False, outbox=directory / "outbox.db", webhook_url=f"{hook}/v1/actions",
        webhook_secret_file=str(directory / "secret"), alertmanager_url=people, armed=("drain",),
    )  # fmt: skip
    outbox = Outbox(config.outbox)
    sinks, stop = open_sinks(config, outbox), threading.Event()
    for sink in sinks:
        threading.Thread(target=deliver, args=(outbox, sink, SystemClock(), stop), daemon=True).start()
    events, committed = directory / "events.txt", directory / "committed.txt"
    while True:
        done = int(committed.read_text()) if committed.exists() else 0
        for name in events.read_text().split()[done:]:
            actions = [action(f"{name}.{does}", incident=name) for does in ("checkpoint", "drain")]
            rows: list[Row] = [change("opened", incident_id=name), *(decided_row(a) for a in actions)]
            told = notices(sinks, [change("opened", incident_id=name)])
            outbox.enqueue(actions, rows, now_s=time.time(), deliver_for_s=3600, notify=told)
            say(f"decided {name}")
            wake(sinks)
            done += 1
            part = committed.with_suffix(".part")
            part.write_text(str(done))
            part.rename(committed)
        time.sleep(0.002)


if __name__ == "__main__":
    where = Path(sys.argv[1])
    for _ in sys.stdin:
        pid = os.fork()
        if pid == 0:
            live(where, sys.argv[2:])
        say(f"life {pid}")
        os.waitpid(pid, 0)
        say("over")
