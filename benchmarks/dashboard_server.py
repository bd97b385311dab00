"""The server's share of the Fleet page, in a fresh process: imports, the first page, and pages with new rows."""

from __future__ import annotations

import json
import logging
import statistics
import sys
import time

_AGAIN = 5


def main() -> None:
    """Argument: the lake. Prints one JSON object."""
    logging.disable(logging.WARNING)  # Streamlit warns that nobody looks at the page
    begun_s = time.perf_counter()
    from collector.config import Config
    from dashboard import app, now, operating_point
    from dashboard.colours import COLOURS
    from dashboard.fleet import cells, picture

    assert app is not None
    lake = sys.argv[1]
    told: dict[str, float] = {"imports_s": time.perf_counter() - begun_s}

    def page() -> tuple[float, float, int, int]:
        """Seconds, processor seconds, cells and bytes of what the page asks for and sends."""
        clock_s, cpu_s = time.perf_counter(), time.process_time()
        fleet = operating_point.with_levels(Config(), now.fleet(lake))
        found = cells.lay_out(cells.scoped(fleet), COLOURS["risk"])
        sent = json.dumps(picture.picture(found, COLOURS["risk"]))
        now.incidents(lake)
        return time.perf_counter() - clock_s, time.process_time() - cpu_s, found.frame.height, len(sent)

    told["cold_s"], told["cold_cpu_s"], told["cells"], told["map_kb"] = page()
    told["map_kb"] /= 1000
    again = []
    for _ in range(_AGAIN):
        for kept in (now.newest, now.fleet, now.incidents):
            kept.clear()
        again.append(page())
    told["warm_s"] = statistics.median(seconds for seconds, *_ in again)
    told["warm_cpu_s"] = statistics.median(cpu for _, cpu, *_ in again)
    print(json.dumps(told))


if __name__ == "__main__":
    main()
