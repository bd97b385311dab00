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
    # caches that are made before a server is there warn of it; Streamlit's own door, since that sets levels anew
    quiet = importlib.import_module("streamlit.logger").get_logger("streamlit.runtime.caching.cache_data_api")
    quiet.setLevel(logging.ERROR)
    # importing the pages is most of the first page's wait; Streamlit does it when somebody opens one
    importlib.import_module("dashboard.app")
    lake = os.environ.get("FORESHOCK_LAKE", "")
    threading.Thread(target=warm, args=(lake,), daemon=True, name="warm").start()
    sys.argv = ["streamlit", "run", *sys.argv[1:]]
    importlib.import_module("streamlit.web.cli").main(prog_name="streamlit")


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
