"""The command lines of alerting. Light: the front door reads it before it knows what is asked."""

from __future__ import annotations

import argparse


def add_incidents(parser: argparse.ArgumentParser) -> None:
    """What `foreshock incidents` takes."""
    parser.add_argument(
        "what",
        nargs="?",
        default="list",
        choices=("list", "show", "ack", "silence", "note"),
        help="default: list",
    )
    parser.add_argument("incident", nargs="?", metavar="ID", help="its name, or how that begins or ends")
    parser.add_argument("--all", action="store_true", help="list closed ones too")
    parser.add_argument("--json", action="store_true", help="list as a JSON array")
    parser.add_argument("--for", dest="hours", type=float, default=4.0, help="hours of silence (default: 4)")
    parser.add_argument("--text", default="", help="what to write down")
    parser.add_argument("--by", default="", help="who says so (default: this user)")
