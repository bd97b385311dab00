from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
HEAVY = (
    "polars",
    "duckdb",
    "sklearn",
    "numpy",
    "streamlit",
    "pyarrow",
    "pandas",
    "deltalake",
    "rich",
    "httpx2",
)

_IMPORT_ALL = """
import importlib, json, pkgutil, sys
import collector, foreshock
for found in pkgutil.iter_modules(collector.__path__):
    importlib.import_module("collector." + found.name)
print(json.dumps(sorted({name.split(".")[0] for name in sys.modules})))
"""


def test_the_agent_imports_nothing_heavy():
    done = subprocess.run(
        [sys.executable, "-I", "-c", _IMPORT_ALL], capture_output=True, text=True, check=True
    )
    loaded = json.loads(done.stdout)
    assert {"pynvml", "kafka", "arro3", "msgspec"} & set(loaded) >= {"pynvml", "arro3", "msgspec"}
    assert not set(HEAVY) & set(loaded)


def test_the_watcher_reads_a_models_level_without_scikit_learn():
    code = """
import sys
from pathlib import Path
import alerting.serve
from alerting.levels import level_of
root = Path(sys.argv[1])
[model] = [p.parent.name for p in root.glob("*/card.json")]
assert level_of(root, model) > 0
print(sorted({"sklearn", "skops", "scipy"} & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(ROOT / "demo" / "registry")],
        capture_output=True, text=True, check=True, cwd=ROOT,
    )  # fmt: skip
    assert done.stdout == "[]\n", "seconds of imports between a risk and its checkpoint"


def test_a_heavy_command_without_its_extra_names_the_install_line(tmp_path: Path):
    hide = "import sys\n" + "".join(f"sys.modules[{name!r}] = None\n" for name in ("polars", "streamlit"))
    for command, extra in ((["ingest"], "server"), (["sql", "SELECT 1"], "server"), (["watch"], "server")):
        code = f"{hide}import foreshock; sys.exit(foreshock.main({command!r}))"
        done = subprocess.run(
            [sys.executable, "-I", "-c", code], capture_output=True, text=True, cwd=tmp_path
        )
        assert done.returncode == 2, done.stderr
        assert f"pip install 'foreshock[{extra}]'" in done.stderr


def test_the_base_dependencies_are_the_light_ones():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {d.split("[")[0].split(">")[0] for d in project["dependencies"]}
    assert names == {
        "nvidia-ml-py",
        "kafka-python",
        "arro3-core",
        "arro3-io",
        "msgspec",
        "prometheus-client",
        "zstandard",
    }
