"""The demo's drain command: marks the node as drained in a file, as a scheduler would in its own state."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def main() -> int:
    """`python -m demo.drain DIRECTORY`, with FORESHOCK_NODE and FORESHOCK_REASON in the environment."""
    directory = Path(sys.argv[1])
    directory.mkdir(exist_ok=True)
    node, reason = os.environ["FORESHOCK_NODE"], os.environ["FORESHOCK_REASON"]
    with (directory / node).open("a") as f:
        f.write(f"{os.environ['FORESHOCK_ACTION']}: {reason}\n")
    print(f"{node} marked for draining")
    return 0


if __name__ == "__main__":
    sys.exit(main())
