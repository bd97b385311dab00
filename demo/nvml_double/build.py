"""Builds the test double of libnvidia-ml.so.1 against NVIDIA's own nvml.h.

Every entry point of the header gets a weak stub that answers NVML_ERROR_NOT_SUPPORTED; the C files
beside this one override what the agent reads. `python -m demo.nvml_double.build` prints the path.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from collector.errors import ForeshockError, NotInstalledError

HERE: Final = Path(__file__).resolve().parent
SOURCES: Final = tuple(
    HERE / name
    for name in (
        "double.c",
        "values.c",
        "readings.c",
        "field_values.c",
        "health.c",
        "inventory.c",
        "events.c",
    )
)
SONAME: Final = "libnvidia-ml.so.1"
FLAGS: Final = ("-Wall", "-Wextra", "-O1", "-fPIC", "-pthread")

_HEADER_PACKAGES: Final = ("nvidia-nvml-dev", "nvidia-nvml-dev-cu12")
_ENTRY_POINT: Final = re.compile(r"nvmlReturn_t\s+DECLDIR\s+(nvml\w+)\s*\(\s*(nvmlDevice_t\b)?")


def find_header() -> Path:
    """nvml.h of the installed nvidia-nvml-dev. Raises NotInstalledError."""
    for package in _HEADER_PACKAGES:
        try:
            files = importlib.metadata.files(package) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        for file in files:
            if file.name == "nvml.h":
                return Path(str(file.locate()))
    raise NotInstalledError(
        "nvml.h not found: the driver double is compiled against NVIDIA's header",
        hint="pip install 'foreshock[demo]'",
    )


def find_compiler() -> list[str]:
    """The C compiler's argv: cc, gcc, clang, else the ziglang package. Raises ForeshockError."""
    for name in ("cc", "gcc", "clang"):
        if found := shutil.which(name):
            return [found]
    if importlib.util.find_spec("ziglang") is not None:
        # zig traps on undefined behaviour by default and needs a runtime library for it
        return [sys.executable, "-m", "ziglang", "cc", "-fno-sanitize=undefined"]
    raise ForeshockError(
        "no C compiler found (looked for cc, gcc, clang and the ziglang package)",
        hint="pip install ziglang, or install gcc",
    )


def entry_points(header_text: str) -> dict[str, bool]:
    """Every nvmlReturn_t function of the header, sorted -> whether its first argument is a device handle."""
    return {name: bool(device) for name, device in sorted(set(_ENTRY_POINT.findall(header_text)))}


def stubs(header_text: str) -> str:
    """C source of one weak stub per entry point; those on a device know lost and hung GPUs too."""
    lines = ["int double_unsupported(void *device);"]
    for name, on_device in entry_points(header_text).items():
        argument, answer = ("void *device", "double_unsupported(device)") if on_device else ("void", "3")
        lines.append(f"__attribute__((weak)) int {name}({argument}) {{ return {answer}; }}")
    return "\n".join(lines) + "\n"


def build(out_dir: Path | None = None) -> Path:
    """Path of the built library; compiled only when a source or the header is newer.

    Raises ForeshockError when there is no compiler, no header, or the compiler refuses.
    """
    out = out_dir if out_dir is not None else HERE / "build"
    library = out / SONAME
    header = find_header()
    newest = max(p.stat().st_mtime for p in (header, Path(__file__), HERE / "double.h", *SOURCES))
    if library.is_file() and library.stat().st_mtime >= newest:
        return library
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out) as work:
        generated = Path(work) / "stubs.c"
        generated.write_text(stubs(header.read_text(encoding="utf-8", errors="replace")))
        made = Path(work) / SONAME
        _compile([*SOURCES, generated], header.parent, made)
        made.replace(library)  # several test processes may build at once: each sees a whole library
    return library


def _compile(sources: list[Path], include: Path, target: Path) -> None:
    argv = [*find_compiler(), *FLAGS, "-shared", f"-Wl,-soname,{SONAME}", f"-I{include}", f"-I{HERE}"]
    done = subprocess.run(
        [*argv, "-o", str(target), *map(str, sources), "-lm"], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise ForeshockError(
            f"{argv[0]} could not build {SONAME}:\n{done.stderr.strip()}",
            hint="the first of cc, gcc, clang on PATH is used: put a working one there",
        )


def main() -> int:
    try:
        print(build())
    except ForeshockError as e:
        print(f"{e}\nTry: {e.hint}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
