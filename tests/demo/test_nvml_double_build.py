"""Building the driver double, and writing its values file."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import subprocess

import pytest

from collector.errors import ForeshockError
from collector.records import READINGS
from demo.nvml_double import build as builder
from demo.nvml_double.values import default_gpu, write_values


def test_every_entry_point_of_the_header_is_exported(library):
    names = builder.entry_points(builder.find_header().read_text())
    loaded = ctypes.CDLL(str(library))
    assert len(names) > 400
    assert [name for name in (*names, "nvmlErrorString") if not hasattr(loaded, name)] == []


def test_a_name_that_is_not_in_the_header_is_not_exported(library):
    assert not hasattr(ctypes.CDLL(str(library)), "nvmlDeviceGetNoSuchThing")


def test_the_c_code_compiles_without_a_warning(tmp_path):
    header = builder.find_header()
    generated = tmp_path / "stubs.c"
    generated.write_text(builder.stubs(header.read_text()))
    checked = subprocess.run(
        [*builder.find_compiler(), *builder.FLAGS, "-Werror", "-fsyntax-only", f"-I{header.parent}",
         *map(str, builder.SOURCES), str(generated)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (checked.returncode, checked.stderr) == (0, "")


def test_building_again_compiles_nothing_until_a_source_is_newer(tmp_path):
    built = builder.build(tmp_path)
    first = built.stat()
    assert builder.build(tmp_path).stat().st_ino == first.st_ino
    os.utime(built, (0, 0))
    assert builder.build(tmp_path).stat().st_mtime > 0
    assert [p.name for p in tmp_path.iterdir()] == [builder.SONAME]


def test_two_builds_are_the_same_bytes(tmp_path):
    assert builder.build(tmp_path / "a").read_bytes() == builder.build(tmp_path / "b").read_bytes()


def test_no_compiler_is_an_error_with_a_hint(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(ForeshockError, match="no C compiler") as caught:
        builder.build(tmp_path / "out")
    assert "ziglang" in caught.value.hint


def test_the_default_gpu_has_a_value_for_every_reading():
    assert set(READINGS) - set(default_gpu(0)) == set()


def test_identities_are_distinct_and_plainly_invented():
    gpus = [default_gpu(index) for index in range(64)]
    for key in ("uuid", "serial", "pci_bdf"):
        assert len({gpu[key] for gpu in gpus}) == 64
    assert str(gpus[3]["uuid"]).startswith("GPU-00000000-")


@pytest.mark.parametrize("key", ["a=b", "", "#gpu0.power_w", "a\nb"])
def test_a_key_that_cannot_be_one_line_is_refused(tmp_path, key):
    with pytest.raises(ValueError, match="key=value"):
        write_values(tmp_path / "values", {key: 1})


def test_a_value_with_a_line_break_is_refused(tmp_path):
    with pytest.raises(ValueError, match="key=value"):
        write_values(tmp_path / "values", {"gpu0.name": "H100\ngpu0.lost=1"})
    assert not (tmp_path / "values").exists()


def test_values_are_replaced_whole_and_leave_no_scrap(tmp_path):
    file = tmp_path / "values"
    write_values(file, {"count": 1, "gpu0.power_w": None, "gpu0.lost": True})
    assert file.read_text() == "count=1\ngpu0.power_w=null\ngpu0.lost=1\n"
    assert list(tmp_path.iterdir()) == [file]
