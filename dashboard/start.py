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
    # importing the pages is most of the first page's wait; Streamlit does it when somebody opens one
    importlib.import_module("dashboard.app")
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
    """Read the newest rows once: the first reading takes several times as long as the next. Failing is no matter."""
    from dashboard import now

    if not lake or not Path(lake).is_dir():
        return
    with contextlib.suppress(ForeshockError):
        now.fleet(lake)
        now.incidents(lake)


if __name__ == "__main__":
    main()
