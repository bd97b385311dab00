from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector import batch
from collector.dcgm import MAX_SAMPLES, Scrape, parse
from collector.dcgm_fields import METRICS
from collector.dcgm_values import reading
from collector.records import COLUMNS, READINGS
from tests.collector.dcgm_text import OTHER, UUID, dev, series

NOW_S = 1_800_000_000.0

GOLDEN: dict[str, tuple[int, int, dict[str, int], dict[str, int]]] = {
    # file: GPUs, readings, nulls by reason, problems by reason
    "doc_NVIDIA_dcgm_exporter_README_md": (1, 2, {"not_supported": 3}, {}),
    "doc_NVIDIA_gpu_monitoring_tools_README_md": (1, 2, {"not_supported": 3}, {}),
    "doc_SolidRegardless_gpu_health_monitor_TECHNOLOGY_DEEP_DIVE_md": (1, 3, {}, {}),
    "doc_awslabs_awsome_distributed_ai_README_md": (0, 0, {}, {"no_gpus": 1, "unreadable_line": 1}),
    "fixture_netdata_netdata_metrics_non_dcgm_prom": (0, 0, {}, {"no_gpus": 1}),
    "fixture_netdata_netdata_metrics_valid_prom": (1, 8, {"not_supported": 1}, {}),
    "real_cncf_v1_35_ericsson_ccd_accelerator_metrics": (1, 18, {"no_sensor": 1}, {}),
    "real_cncf_v1_35_kops_tests_TestObservability_AcceleratorMetrics_ViaDCGM_output":
        (1, 21, {"no_sensor": 2}, {}),
    "real_cncf_v1_35_rafay_accelator_metrics": (1, 16, {"no_sensor": 1}, {}),
    "real_cncf_v1_35_viettel_ai_platform_accelerator_metrics": (2, 2, {}, {"unreadable_line": 18}),
    "real_cncf_v1_35_vks_accelerator_metrics": (1, 10, {"no_sensor": 1}, {}),
    "real_cncf_v1_36_vks_accelerator_metrics": (1, 10, {"no_sensor": 1}, {}),
    "real_doc_a800_mixed_mig_excerpt": (8, 31, {}, {}),
    "real_issue_dcgm_235_series_without_value": (0, 0, {}, {"no_gpus": 1, "unreadable_line": 1}),
    "real_issue_dcgm_exporter_222_headers_only": (0, 0, {}, {"no_gpus": 1}),
    "real_issue_dcgm_exporter_239_xid_count_injected": (1, 0, {}, {}),
    "real_issue_dcgm_exporter_250_v100_hpc": (4, 8, {}, {}),
    "real_issue_dcgm_exporter_581_gb200_domain8": (1, 0, {}, {}),
    "real_issue_dcgm_exporter_713_a100_7g_empty_pod_labels": (1, 1, {}, {}),
    "real_issue_dcgm_exporter_736_a30_mig_mixed_models": (3, 4, {}, {}),
    "real_issue_gpu_monitoring_tools_189_no_device_model": (1, 3, {}, {}),
}  # fmt: skip


def scrape(text: str) -> Scrape:
    return parse(text, NOW_S, "n1")


def only(text: str) -> dict[str, object]:
    """The values of the one GPU in the text."""
    (gpu,) = scrape(text).gpus
    return gpu.values


def captures(shared_data: Path) -> dict[str, str]:
    return {p.stem: p.read_text() for p in (shared_data / "dcgm_metrics").glob("*.prom")}


def test_the_real_captures_give_what_was_counted_by_hand(shared_data: Path):
    texts = captures(shared_data)
    assert set(texts) >= set(GOLDEN)
    for name, expected in GOLDEN.items():
        s = scrape(texts[name])
        readings = sum(len(gpu.values) for gpu in s.gpus)
        problems = {p.reason: p.count for p in s.problems}
        assert (len(s.gpus), readings, s.nulls, problems) == expected, name


def test_the_real_captures_are_plausible_rows_that_travel(shared_data: Path):
    for name, text in captures(shared_data).items():
        s = scrape(text)
        assert len(s.rows) == len(s.gpus)
        for row in s.rows:
            named = dict(zip(COLUMNS, row, strict=True))
            for column, low, high in (
                ("temperature_c", 10, 110), ("memory_temperature_c", 10, 110), ("power_w", 0, 2000),
                ("sm_util_pct", 0, 100), ("mem_util_pct", 0, 100), ("sm_clock_mhz", 100, 4000),
                ("memory_total_mib", 4000, 300_000), ("tensor_active_pct", 0, 100),
            ):  # fmt: skip
                value = named[column]
                assert value is None or low <= float(str(value)) <= high, (name, column, value)
            assert named["gpu_state"] == "ok"
            assert named["nvml_return"] is None
        if s.rows:
            assert batch.encode(s.rows)


def test_a_t4_in_use_reads_as_nvml_would_say_it(shared_data: Path):
    (gpu,) = scrape(captures(shared_data)["real_cncf_v1_35_ericsson_ccd_accelerator_metrics"]).gpus
    assert (gpu.index, gpu.minor, gpu.pci_bdf, gpu.model) == (0, 0, "0000:37:00", "Tesla T4")
    assert gpu.driver_version == "590.48.01"
    assert gpu.values["temperature_c"] == 74
    assert gpu.values["power_w"] == 68.244
    assert gpu.values["energy_j"] == pytest.approx(15_152_422.938)
    assert gpu.values["memory_total_mib"] == 5120 + 9791 + 447
    assert gpu.values["tensor_active_pct"] == pytest.approx(0.5822)
    assert "memory_temperature_c" not in gpu.values  # the exporter says 0: a T4 has no such sensor


def test_a_domain_that_is_not_zero_is_kept(shared_data: Path):
    (gpu,) = scrape(captures(shared_data)["real_issue_dcgm_exporter_581_gb200_domain8"]).gpus
    assert gpu.pci_bdf == "0008:01:00"


def test_the_csv_snapshot_of_247_gpus_as_a_federated_text(shared_data: Path):
    """The same series as Prometheus' /federate would give them, by the labels that the snapshot kept."""
    import csv

    with (shared_data / "dcgm_csv_h100_snapshot" / "dcgm_metrics_sample.csv").open() as f:
        rows = list(csv.DictReader(f))
    text = "".join(f"{r['metric_name']}{{{r['labels_raw']}}} {r['value']}\n" for r in rows)
    text = text.replace(",__name__=", ",x=")
    s = scrape(text)
    assert len(s.gpus) == len({r["uuid"] for r in rows}) == 247
    assert {gpu.node for gpu in s.gpus} == {r["Hostname"] for r in rows}
    assert s.nulls == {}


@pytest.mark.parametrize("jsonl", ["sentinel_and_corrupt_values.jsonl"])
def test_every_blank_and_corrupt_value_seen_in_the_field_becomes_null(shared_data: Path, jsonl: str):
    cases = [json.loads(line) for line in (shared_data / "dcgm_metrics" / jsonl).read_text().splitlines()]
    assert len(cases) == 11
    for case in cases:
        name = case["metric"] if case["metric"] in METRICS else "DCGM_FI_DEV_POWER_USAGE"
        s = scrape(series(name, case["value"]) + series("DCGM_FI_DEV_SM_CLOCK", 210))
        assert s.gpus[0].values == {"sm_clock_mhz": 210}, case
        assert sum(s.nulls.values()) == 1


OLD = (
    dev("GPU_UTIL", 91) + dev("MEM_COPY_UTIL", 7) + dev("SM_CLOCK", 1410) + dev("MEM_CLOCK", 1593)
    + dev("TOTAL_ENERGY_CONSUMPTION", 15152422938) + dev("FB_USED", 5120) + dev("FB_TOTAL", 81920)
    + dev("POWER_VIOLATION", 2_000_000_000) + dev("POWER_USAGE", 301.5) + dev("GPU_TEMP", 61)
    + dev("UNCORRECTABLE_REMAPPED_ROWS", 2) + dev("ROW_REMAP_FAILURE", 1) + dev("RETIRED_PENDING", 1)
    + dev("NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL", 4) + dev("PCIE_REPLAY_COUNTER", 3)
    + series("DCGM_FI_PROF_SM_ACTIVE", 0.25)
)  # fmt: skip
NEW = (
    dev("GPU_UTIL_RATIO", 0.91) + dev("MEMORY_UTIL_RATIO", 0.07) + dev("SM_CLOCK_HERTZ", 1410000000)
    + dev("MEMORY_CLOCK_HERTZ", 1593000000) + dev("GPU_ENERGY_JOULES_TOTAL", 15152422.938)
    + dev("FB_USED_BYTES", 5120 * 2**20) + dev("FB_CAPACITY_BYTES", 81920 * 2**20)
    + dev("GPU_POWER_THROTTLE_SECONDS_TOTAL", 2.0) + dev("BOARD_POWER_WATTS", 301.5)
    + dev("GPU_TEMP_CELSIUS", 61) + dev("ROW_REMAP_UNCORRECTABLE_TOTAL", 2) + dev("ROW_REMAP_FAILED", 1)
    + dev("PAGE_RETIRED_PENDING", 1) + dev("NVLINK_CRC_FLIT_ERROR_TOTAL", 4) + dev("PCIE_REPLAY_TOTAL", 3)
    + series("DCGM_FI_PROF_SM_UTIL_RATIO", 0.25)
)  # fmt: skip


def test_both_dialects_of_the_exporter_give_the_same_row():
    old, new = only(OLD), only(NEW)
    assert len(old) == 16
    assert old.keys() == new.keys()
    for column, value in old.items():
        assert new[column] == pytest.approx(value), column
    assert old["power_violation_us"] == 2_000_000


def test_counters_lose_nothing_to_the_total_suffix_of_the_parser():
    text = "# TYPE DCGM_FI_DEV_PCIE_REPLAY_COUNTER counter\n" + dev("PCIE_REPLAY_COUNTER", 9)
    assert only(text) == {"pcie_replay": 9}
    text = "# TYPE DCGM_FI_DEV_ECC_DBE_VOL_TOTAL counter\n" + dev("ECC_DBE_VOL_TOTAL", 1)
    assert only(text) == {"ecc_dbe_volatile": 1}


def test_a_ratio_that_is_really_a_percentage_is_taken_as_one():
    """DCGM 4.6 gives field 203, the percentage, under the name GPU_UTIL_RATIO as well."""
    busy = dev("GPU_UTIL_RATIO", 97)
    idle = series("DCGM_FI_DEV_GPU_UTIL_RATIO", 1, gpu=1, of=OTHER)
    values = [gpu.values["sm_util_pct"] for gpu in scrape(busy + idle).gpus]
    assert values == [97, 1]
    values = [gpu.values["sm_util_pct"] for gpu in scrape(dev("GPU_UTIL_RATIO", 0.97) + idle).gpus]
    assert values == [97, 100]


def test_zero_is_a_reading_for_every_metric_but_a_temperature():
    for name, metric in METRICS.items():
        value, why = reading(metric.column, 0, metric.factor)
        if metric.column in ("temperature_c", "memory_temperature_c"):
            assert (value, why) == (None, "no_sensor")
        elif why is not None:  # sizes, limits and links of a GPU that works are never 0
            assert metric.column in ("power_limit_w", "memory_total_mib", "pcie_generation", "pcie_width"), (
                name
            )
        else:
            assert value == 0, name


def test_a_blank_is_null_for_every_metric():
    for blank in (9223372036854775794, 9.223372036854776e18, 2147483632, 140737488355330.0, 4294967295,
                  math.nan, math.inf, -math.inf, 10**400):  # fmt: skip
        for name, metric in METRICS.items():
            assert reading(metric.column, blank, metric.factor)[0] is None, (name, blank)


def test_the_reason_of_a_blank_is_dcgms_own():
    reasons = [reading("power_w", 2**63 - 16 + n, 1)[1] for n in range(4)]
    assert reasons == ["blank", "not_found", "not_supported", "not_permitted"]


def test_a_thermal_margin_may_be_negative_and_power_may_not():
    assert only(dev("GPU_TEMP_LIMIT", -3)) == {"temperature_margin_c": -3}
    s = scrape(dev("POWER_USAGE", -3))
    assert s.nulls == {"negative": 1}
    assert s.rows[0][COLUMNS.index("gpu_state")] == "error"


def test_mig_instances_do_not_multiply_the_gpu():
    text = "".join(
        dev(name, value, GPU_I_ID=str(i), GPU_I_PROFILE="2g.20gb")
        for i in (3, 5, 6)
        for name, value in (("GPU_TEMP", 33), ("POWER_USAGE", 120.5), ("TOTAL_ENERGY_CONSUMPTION", 5000),
                            ("ECC_DBE_VOL_TOTAL", 2), ("FB_USED", 1000 + i), ("FB_FREE", 18_000),
                            ("GPU_UTIL", 50))
    )  # fmt: skip
    s = scrape(text)
    assert len(s.rows) == 1
    assert s.gpus[0].values == {
        "temperature_c": 33, "power_w": 120.5, "energy_j": 5.0, "ecc_dbe_volatile": 2, "memory_used_mib": 3014,
    }  # fmt: skip
    assert s.nulls == {
        "mig_instance": 2
    }  # what utilization and free memory of a part say of the whole: nothing


def test_the_whole_gpu_outranks_its_instances():
    text = dev("GPU_UTIL", 80) + dev("GPU_UTIL", 60, GPU_I_ID="2") + dev("FB_USED", 9, GPU_I_ID="2")
    assert only(text) == {"sm_util_pct": 80, "memory_used_mib": 9}


def test_nvlink_rows_are_added_up_and_a_total_is_not_added_to_them():
    lanes = "".join(
        dev("NVLINK_REPLAY_ERROR_COUNT_TOTAL", n, nvlink=str(n), UUID="", gpu_uuid=UUID) for n in (1, 2, 4)
    )
    assert only(lanes) == {"nvlink_replay_errors": 7}
    assert only(lanes + dev("NVLINK_REPLAY_ERROR_COUNT_TOTAL", 9)) == {"nvlink_replay_errors": 9}
    named = dev("NVLINK_CRC_DATA_ERROR_COUNT_L0", 3) + dev("NVLINK_CRC_DATA_ERROR_COUNT_L17", 4)
    assert only(named) == {"nvlink_crc_data_errors": 7}
    rates = "".join(
        dev("NVLINK_COUNT_SYMBOL_BER_FLOAT", v, nvlink=str(i)) for i, v in enumerate((1e-9, 3e-7))
    )
    assert only(rates) == {"nvlink5_symbol_ber": 3e-7}


@pytest.mark.parametrize("label", ["UUID", "uuid", "gpu_uuid", "exported_UUID"])
def test_the_uuid_is_found_in_every_spelling(label: str):
    text = series("DCGM_FI_DEV_GPU_TEMP", 40, of="", **{label: UUID})  # type: ignore[arg-type]
    assert scrape(text).gpus[0].uuid == UUID


def test_a_row_without_uuid_joins_the_gpu_with_its_index():
    text = dev("GPU_TEMP", 40) + dev("POWER_USAGE", 70, UUID="")
    assert only(text) == {"temperature_c": 40, "power_w": 70.0}
    s = scrape(dev("POWER_USAGE", 70, UUID=""))
    assert {p.reason for p in s.problems} == {"no_gpu_uuid", "no_gpus"}


def test_a_federated_text_keeps_its_nodes_apart():
    text = dev("GPU_TEMP", 40, Hostname="a") + series("DCGM_FI_DEV_GPU_TEMP", 50, of=OTHER, hostname="b")
    assert {(g.node, g.values["temperature_c"]) for g in scrape(text).gpus} == {("a", 40), ("b", 50)}


def test_one_nodes_text_is_the_named_nodes_whatever_its_hostname_label_says():
    text = dev("GPU_TEMP", 40, hostname="dcgm-exporter-wwwjh")
    assert scrape(text).gpus[0].node == "n1"
    assert parse(text, NOW_S, "", by_label=True).gpus[0].node == "dcgm-exporter-wwwjh"


def test_a_federated_sample_keeps_its_own_time():
    text = dev("GPU_TEMP", 40).strip() + f" {round((NOW_S - 20) * 1000)}\n"
    assert scrape(text).rows[0][0] == round((NOW_S - 20) * 1e6)
    text = dev("GPU_TEMP", 40).strip() + " 99999999999999999\n"
    assert scrape(text).rows[0][0] == round(NOW_S * 1e6)


def test_the_labels_tell_the_job():
    (gpu,) = scrape(dev("GPU_TEMP", 40, hpc_job="4711")).gpus
    assert gpu.jobs[None].label == "4711"
    (gpu,) = scrape(
        dev("GPU_TEMP", 40, exported_pod="p", exported_namespace="ml", pod="nvidia-dcgm-exporter-x")
    ).gpus
    assert gpu.jobs[None].label == "ml/p"
    (gpu,) = scrape(dev("GPU_TEMP", 40, pod="nvidia-dcgm-exporter-x", namespace="gpu-operator")).gpus
    assert gpu.jobs == {}


def test_the_exporter_of_version_1_is_understood():
    text = series("dcgm_gpu_temp", 25, of="", uuid=UUID) + series("dcgm_power_usage", 10.1, of="", uuid=UUID)
    assert only(text) == {"temperature_c": 25, "power_w": 10.1}


def test_one_bad_line_costs_one_line():
    text = (
        dev("GPU_TEMP", 40) + 'DCGM_FI_DEV_SM_CLOCK{gpu="0",...,modelName="x"} 1\n' + dev("POWER_USAGE", 70)
    )
    s = scrape(text)
    assert s.gpus[0].values == {"temperature_c": 40, "power_w": 70.0}
    assert [(p.reason, p.count) for p in s.problems] == [("unreadable_line", 1)]
    assert "..." in s.problems[0].example


def test_a_line_without_end_is_not_parsed():
    text = dev("GPU_TEMP", 40, x='\\"' * 5000) + dev("POWER_USAGE", 70)
    assert only(text) == {"power_w": 70.0}


def test_series_without_end_are_cut_off(monkeypatch: pytest.MonkeyPatch):
    assert MAX_SAMPLES == 500_000
    monkeypatch.setattr("collector.dcgm.MAX_SAMPLES", 3)
    s = scrape(dev("GPU_TEMP", 40) * 5)
    assert s.samples == 3
    assert [p.reason for p in s.problems] == ["too_many_series"]


def test_shared_gpus_repeat_a_series_per_pod_and_the_first_counts():
    text = dev("GPU_UTIL", 40, pod="a") + dev("GPU_UTIL", 40, pod="b") + dev("GPU_UTIL", 41, pod="c")
    s = scrape(text)
    assert s.gpus[0].values == {"sm_util_pct": 40}
    assert [p.reason for p in s.problems] == ["series_disagree"]


TERMS = st.sampled_from([
    "DCGM_FI_DEV_GPU_TEMP", "DCGM_FI_DEV_XID_ERRORS", "DCGM_EXP_XID_ERRORS_COUNT", "DCGM_FI_DEV_GPU_UTIL_RATIO",
    "dcgm_gpu_temp", "{", "}", 'gpu="0"', f'UUID="{UUID}"', 'xid="79"', 'GPU_I_ID="1"', 'nvlink="3"', ",", '"',
    "\\", "=", " ", "\t", "\n", "40", "nan", "-inf", "1e400", "9" * 5000, "# TYPE x counter", "# HELP", "\0", "\r",
])  # fmt: skip


@given(st.lists(st.one_of(TERMS, st.text(max_size=5)), max_size=40).map("".join))
def test_no_text_can_raise(text: str):
    s = parse(text, NOW_S, "n")
    assert len(s.rows) == len(s.gpus)


@given(
    st.sampled_from(sorted(METRICS)),
    st.one_of(st.floats(), st.integers(), st.integers(-1, 200)),
    st.dictionaries(
        st.sampled_from(["GPU_I_ID", "nvlink", "Hostname", "pod", "pci_bus_id"]),
        st.sampled_from(["0", "7", "x"]),
    ),
)
def test_whatever_the_value_the_row_has_the_types_of_the_schema(
    name: str, value: float, labels: dict[str, str]
):
    s = scrape(series(name, value, **labels))  # type: ignore[arg-type]
    assert len(s.rows) == 1
    for reading_ in dict(zip(COLUMNS, s.rows[0], strict=True)).values():
        assert not isinstance(reading_, float) or math.isfinite(reading_)
    assert set(s.gpus[0].values) <= set(READINGS)
    assert batch.encode(s.rows)
