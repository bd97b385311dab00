#!/bin/sh
# Makes .venv with the `foreshock` command, all extras, the test tools, and the NVML double of the demo.
set -eu
cd "$(dirname "$0")"
PY=${PY:-python3}

die() { printf 'setup: %s\n  Try: %s\n' "$1" "$2" >&2; exit 1; }

"$PY" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
    die "$PY is not Python 3.11 or newer" "make setup PY=/path/to/python3.11"
if [ ! -x .venv/bin/python ]; then
    "$PY" -m venv .venv || die "$PY cannot make a virtual environment" "apt-get install python3-venv"
fi
.venv/bin/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
.venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
    --editable '.[all]' --group test --group lint
if ! command -v cc >/dev/null 2>&1 && ! command -v gcc >/dev/null 2>&1 && ! command -v clang >/dev/null 2>&1; then
    # No C compiler and perhaps no root to install one: the zig wheel brings its own.
    .venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt ziglang
fi
.venv/bin/python -m demo.nvml_double.build
touch .venv/.installed
