"""NVRx's question, asked by a real gRPC client with messages that protobuf itself makes from nvhcd's fields."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerting.command import CommandAdapter
from collector.config import BridgeConfig, CollectorConfig
from collector.errors import ConfigError, ForeshockError, NotInstalledError
from collector.health_check import encode, holds, serve
from tests.alerting.test_command import ACTION

descriptor_pb2 = pytest.importorskip("google.protobuf.descriptor_pb2")


def response_class() -> Any:
    descriptor_pool = pytest.importorskip("google.protobuf.descriptor_pool")
    message_factory = pytest.importorskip("google.protobuf.message_factory")
    file = descriptor_pb2.FileDescriptorProto(name="nvhcd.proto", package="nvhcd", syntax="proto3")
    message = file.message_type.add(name="HealthCheckResponse")
    for number, (name, kind) in enumerate([("success", 8), ("exit_code", 5), ("output", 9), ("error", 9)], 1):
        message.field.add(name=name, number=number, type=kind, label=1)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("nvhcd.HealthCheckResponse"))


RESPONSE = response_class()


def ask(socket: Path) -> Any:
    grpc = pytest.importorskip("grpc")
    with grpc.insecure_channel(f"unix://{socket}") as channel:
        call = channel.unary_unary(
            "/nvhcd.HealthCheckService/RunHealthCheck", response_deserializer=RESPONSE.FromString
        )
        return call(b"\x0a\x0a--no-slurm", timeout=10)


@given(st.lists(st.text(max_size=300), max_size=5))
def test_protobuf_reads_what_is_encoded_by_hand(failed: list[str]):
    failed = [f.encode("utf-8", "replace").decode() for f in failed]
    told = RESPONSE.FromString(encode(failed))
    assert (told.success, told.exit_code) == (not failed, 1 if failed else 0)
    assert json.loads(told.output) == {"failed_checks": failed, "fail_count": len(failed)}
    assert told.error == "; ".join(failed)


def test_a_node_is_left_out_while_an_incident_holds_it_or_a_gpu_is_gone(tmp_path: Path):
    pytest.importorskip("grpc")
    socket = tmp_path / "health.sock"
    problems: list[str] = []
    endpoint = serve(
        CollectorConfig(node="n1", health_check_socket=f"unix://{socket}", hold_dir=str(tmp_path)),
        lambda: problems,
    )
    bridge = CommandAdapter(BridgeConfig(hold_dir=str(tmp_path)))
    other = msgspec.structs.replace(ACTION, incident_id="i2")
    try:
        assert ask(socket).success
        assert bridge.drain(ACTION).ok
        assert bridge.drain(ACTION).ok
        assert bridge.drain(other).ok
        told = ask(socket)
        assert (told.success, told.exit_code) == (False, 1)
        assert json.loads(told.output)["failed_checks"] == [
            "foreshock:i1 GPU 3 GPU-a risk=0.93", "foreshock:i2 GPU 3 GPU-a risk=0.93",
        ]  # fmt: skip
        assert bridge.release(ACTION).ok
        assert not ask(socket).success  # the other incident's hold stays
        assert bridge.release(other).ok
        assert bridge.release(other).ok
        assert ask(socket).success
        problems.append("1 of 8 GPUs lost")
        assert json.loads(ask(socket).output) == {"failed_checks": ["1 of 8 GPUs lost"], "fail_count": 1}
    finally:
        endpoint.close()
    assert not socket.exists()


def test_a_socket_of_a_killed_agent_is_taken_over_and_a_bad_place_is_said(tmp_path: Path):
    pytest.importorskip("grpc")
    socket = tmp_path / "health.sock"
    socket.touch()
    endpoint = serve(CollectorConfig(health_check_socket=str(socket)), lambda: [])
    assert ask(socket).success
    endpoint.close()
    with pytest.raises(ConfigError, match="health_check_socket"):
        serve(CollectorConfig(health_check_socket=str(tmp_path / "nowhere" / "health.sock")), lambda: [])


def test_a_hold_that_is_empty_or_unreadable_still_holds(tmp_path: Path):
    (tmp_path / "a.hold").touch()
    (tmp_path / "b.hold").mkdir()
    assert holds(str(tmp_path)) == ["a.hold", "b.hold: Is a directory"]
    assert holds("") == []


def test_an_incident_that_is_no_file_name_is_refused(tmp_path: Path):
    evil = msgspec.structs.replace(ACTION, incident_id="../../etc/x")
    with pytest.raises(ForeshockError, match="no name of a file"):
        CommandAdapter(BridgeConfig(hold_dir=str(tmp_path))).drain(evil)


def test_off_is_the_default_and_a_missing_library_names_the_install_line(monkeypatch: pytest.MonkeyPatch):
    serve(CollectorConfig(), lambda: []).close()
    monkeypatch.setitem(sys.modules, "grpc", None)
    with pytest.raises(NotInstalledError) as raised:
        serve(CollectorConfig(health_check_socket="/run/x"), lambda: [])
    assert raised.value.hint == "pip install 'foreshock[nvrx]'"
