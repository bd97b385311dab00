"""What the dashboard's process runs: what the first page needs is loaded and read before anybody asks for it.

`python -m dashboard.start app.py --server.port=...` is `streamlit run` with the same words.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import sys
import threading
from pathlib import Path

from collector.errors import ForeshockError


def main() -> None:
    """Serve until stopped."""
    # caches that are made before a server is there warn of it; a filter, since Streamlit sets its levels anew
    quiet = importlib.import_module("streamlit.logger").get_logger("streamlit.runtime.caching.cache_data_api")
    quiet.addFilter(_is_news)
    # importing is most of the first page's wait; Streamlit does it when somebody opens one
    for name in ("dashboard.app", "pandas", "pyarrow"):
        importlib.import_module(name)
    lake = os.environ.get("FORESHOCK_LAKE", "")
    threading.Thread(target=warm, args=(lake,), daemon=True, name="warm").start()
    sys.argv = ["streamlit", "run", *sys.argv[1:]]
    code: object = 0
    try:
        importlib.import_module("streamlit.web.cli").main(prog_name="streamlit")
    except SystemExit as e:
        code = e.code
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    # a thread that a library's C++ holds (a query, a read) is torn down with "FATAL: exception not rethrown" otherwise
    os._exit(code if isinstance(code, int) else code is not None)


def _is_news(record: logging.LogRecord) -> bool:
    return "No runtime found" not in record.getMessage()


def warm(lake: str) -> None:
    """Make the first page once: what is done first takes several times as long as the next. Failing is no matter."""
    from collector.config import Config
    from dashboard import now, operating_point
    from dashboard.colours import COLOURS
    from dashboard.fleet import cells, picture

    if not lake or not Path(lake).is_dir():
        return
    with contextlib.suppress(ForeshockError):
        now.incidents(lake)
        rows = now.fleet(lake)
        if rows.height:
            shown = cells.scoped(operating_point.with_levels(Config(), rows))
            picture.picture(cells.lay_out(shown, COLOURS["risk"]), COLOURS["risk"])


if __name__ == "__main__":
    main()
