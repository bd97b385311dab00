"""The driver double through the real pynvml, each test in a process of its own (see conftest.py)."""

from __future__ import annotations


def test_pynvml_reads_identity_and_node(in_child):
    def body():
        from tests.demo.nvml_probe import code_of, default_gpu, nv, write

        write(gpus=16)
        nv.nvmlInit()
        assert nv.nvmlDeviceGetCount() == 16
        assert nv.nvmlSystemGetDriverVersion() == "580.95.05"
        h = nv.nvmlDeviceGetHandleByIndex(13)
        uuid = nv.nvmlDeviceGetUUID(h)
        assert uuid == default_gpu(13)["uuid"]
        assert nv.nvmlDeviceGetIndex(nv.nvmlDeviceGetHandleByUUID(uuid)) == 13
        pci = nv.nvmlDeviceGetPciInfo(h)
        assert pci.busId == "00000001:AB:00.0"
        assert nv.nvmlDeviceGetIndex(nv.nvmlDeviceGetHandleByPciBusId(pci.busId)) == 13
        assert nv.nvmlDeviceGetName(h) == "NVIDIA H100 80GB HBM3"
        assert nv.nvmlDeviceGetSerial(h) == default_gpu(13)["serial"]
        assert nv.nvmlDeviceGetMinorNumber(h) == 13
        assert nv.nvmlDeviceGetVbiosVersion(h) == "96.00.00.00.00"
        assert code_of(nv.nvmlDeviceGetHandleByIndex, 16) == nv.NVML_ERROR_INVALID_ARGUMENT
        assert code_of(nv.nvmlDeviceGetHandleByUUID, "GPU-nobody") == nv.NVML_ERROR_NOT_FOUND

    in_child(body)


def test_every_reading_keeps_value_zero_null_absent_and_error_apart(in_child):
    def body():
        from collector.records import READINGS
        from tests.demo.nvml_probe import READERS, VALUES, code_of, node_values, nv, write_values

        write_values(VALUES, node_values({0: {}}))
        nv.nvmlInit()
        h = nv.nvmlDeviceGetHandleByIndex(0)
        memory = [f"memory_{part}_mib" for part in ("used", "total", "free", "reserved")]
        partners = dict.fromkeys(["sm_util_pct", "mem_util_pct", *memory], 1)
        assert set(READERS) <= set(READINGS)
        for name, (read, factor) in READERS.items():
            for value in (0, 37, 250_000 if factor == 1000 else 251):
                write_values(VALUES, node_values({0: partners | {name: value}}))
                assert read(h) == value * factor, name
            write_values(VALUES, node_values({0: partners | {name: None}}))
            assert code_of(read, h) == nv.NVML_ERROR_NOT_SUPPORTED, name
            absent = {k: v for k, v in partners.items() if k != name}
            write_values(VALUES, node_values({0: absent}))
            assert code_of(read, h) == nv.NVML_ERROR_NOT_SUPPORTED, name
            write_values(VALUES, node_values({0: partners | {name: "!15"}}))
            assert code_of(read, h) == nv.NVML_ERROR_GPU_IS_LOST, name
            write_values(VALUES, node_values({0: partners | {name: "12x"}}))
            assert code_of(read, h) == nv.NVML_ERROR_UNKNOWN, name

    in_child(body)


def test_a_reading_can_follow_another_one(in_child):
    def body():
        from tests.demo.nvml_probe import nv, write

        write({"gpu0.power_w": 612.5, "gpu1.power_w": None, "gpu2.power_w": "!999"})
        nv.nvmlInit()
        handles = [nv.nvmlDeviceGetHandleByIndex(gpu) for gpu in range(3)]
        instant = [nv.nvmlDeviceGetFieldValues(h, [186])[0] for h in handles]
        assert [v.nvmlReturn for v in instant] == [0, 3, 999]
        assert instant[0].value.uiVal == 612_500

    in_child(body)


def test_another_generation_is_a_driver_reload_and_needs_a_new_init(in_child):
    def body():
        from tests.demo.nvml_probe import code_of, nv, write

        write({"generation": 1})
        nv.nvmlInit()
        h = nv.nvmlDeviceGetHandleByIndex(0)
        assert code_of(nv.nvmlDeviceGetPowerUsage, h) == 0
        write({"generation": 2})
        for call in (nv.nvmlDeviceGetCount, nv.nvmlSystemGetDriverVersion, nv.nvmlEventSetCreate):
            assert code_of(call) == nv.NVML_ERROR_UNINITIALIZED
        assert code_of(nv.nvmlDeviceGetPowerUsage, h) == nv.NVML_ERROR_UNINITIALIZED
        nv.nvmlInit()
        assert code_of(nv.nvmlDeviceGetPowerUsage, nv.nvmlDeviceGetHandleByIndex(0)) == 0

    in_child(body)


def test_fractions_are_kept_to_the_unit_of_nvml(in_child):
    def body():
        from tests.demo.nvml_probe import READERS, nv, write

        write({"gpu0.power_w": 69.7, "gpu0.energy_j": 1579111819.98, "gpu0.memory_used_mib": 0.5})
        nv.nvmlInit()
        h = nv.nvmlDeviceGetHandleByIndex(0)
        got = [READERS[name][0](h) for name in ("power_w", "energy_j", "memory_used_mib")]
        assert got == [69_700, 1_579_111_819_980, 524_288]

    in_child(body)


def test_one_bad_field_does_not_spoil_the_others_of_the_same_call(in_child):
    def body():
        from tests.demo.nvml_probe import nv, write

        write({"gpu2.ecc_dbe_volatile": None, "gpu2.pcie_replay": "!16", "gpu2.energy_j": 0})
        nv.nvmlInit()
        values = nv.nvmlDeviceGetFieldValues(nv.nvmlDeviceGetHandleByIndex(2), [4, 94, 83, 9999])
        assert [v.nvmlReturn for v in values] == [3, 16, 0, 3]
        assert values[2].value.ullVal == 0

    in_child(body)


def test_an_entry_point_without_a_value_is_not_supported_and_knows_a_lost_gpu(in_child):
    def body():
        from tests.demo.nvml_probe import code_of, nv, write

        nv.nvmlInit()
        h = nv.nvmlDeviceGetHandleByIndex(4)
        assert code_of(nv.nvmlDeviceGetFanSpeed, h) == nv.NVML_ERROR_NOT_SUPPORTED
        assert code_of(nv.nvmlUnitGetCount) == nv.NVML_ERROR_NOT_SUPPORTED
        write({"gpu4.lost": 1})
        assert code_of(nv.nvmlDeviceGetFanSpeed, h) == nv.NVML_ERROR_GPU_IS_LOST

    in_child(body)


def test_a_lost_gpu_fails_every_call_and_its_neighbours_none(in_child):
    def body():
        from tests.demo.nvml_probe import READERS, code_of, nv, write

        nv.nvmlInit()
        h5, h6 = (nv.nvmlDeviceGetHandleByIndex(gpu) for gpu in (5, 6))
        write({"gpu5.lost": 1})
        for read, _ in (*READERS.values(), (nv.nvmlDeviceGetUUID, 1), (nv.nvmlDeviceGetPciInfo, 1)):
            assert code_of(read, h5) == nv.NVML_ERROR_GPU_IS_LOST
            assert code_of(read, h6) == 0
        assert code_of(nv.nvmlDeviceGetHandleByIndex, 5) == nv.NVML_ERROR_GPU_IS_LOST
        assert nv.nvmlDeviceGetCount() == 8
        write()
        assert code_of(nv.nvmlDeviceGetPowerUsage, h5) == 0

    in_child(body)


def test_a_removed_gpu_is_not_found_and_the_others_keep_their_index(in_child):
    def body():
        from tests.demo.nvml_probe import code_of, default_gpu, nv, write

        nv.nvmlInit()
        old = nv.nvmlDeviceGetHandleByIndex(1)
        write({"gpu1.removed": 1})
        assert code_of(nv.nvmlDeviceGetHandleByIndex, 1) == nv.NVML_ERROR_NOT_FOUND
        assert code_of(nv.nvmlDeviceGetHandleByUUID, default_gpu(1)["uuid"]) == nv.NVML_ERROR_NOT_FOUND
        assert code_of(nv.nvmlDeviceGetPowerUsage, old) == nv.NVML_ERROR_GPU_IS_LOST
        h2 = nv.nvmlDeviceGetHandleByIndex(2)
        assert nv.nvmlDeviceGetUUID(h2) == default_gpu(2)["uuid"]
        assert nv.nvmlDeviceGetCount() == 8

    in_child(body)


def test_a_hung_gpu_blocks_its_caller_and_nobody_else_until_it_recovers(in_child):
    def body():
        import threading

        from tests.demo.nvml_probe import nv, seconds, write

        nv.nvmlInit()
        h0, h1 = (nv.nvmlDeviceGetHandleByIndex(gpu) for gpu in (0, 1))
        write({"gpu0.hang": 1})
        answers = []
        hung = threading.Thread(target=lambda: answers.append(nv.nvmlDeviceGetPowerUsage(h0)), daemon=True)
        hung.start()
        for power_w in range(100, 120):
            write({"gpu0.hang": 1, "gpu0.power_w": 99, "gpu1.power_w": power_w})
            assert seconds(lambda: nv.nvmlDeviceGetPowerUsage(h1)) < 0.25
            assert nv.nvmlDeviceGetPowerUsage(h1) == power_w * 1000
            hung.join(0.01)
        assert hung.is_alive()
        assert answers == []
        write({"gpu0.power_w": 99})
        hung.join(2.0)
        assert answers == [99_000]

    in_child(body)


def test_a_gpu_that_is_lost_while_it_hangs_answers_that_it_is_lost(in_child):
    def body():
        import threading

        from tests.demo.nvml_probe import code_of, nv, write

        nv.nvmlInit()
        h = nv.nvmlDeviceGetHandleByIndex(0)
        write({"gpu0.hang": 1})
        codes = []
        hung = threading.Thread(target=lambda: codes.append(code_of(nv.nvmlDeviceGetUUID, h)), daemon=True)
        hung.start()
        hung.join(0.1)
        assert hung.is_alive()
        write({"gpu0.lost": 1})
        hung.join(2.0)
        assert codes == [nv.NVML_ERROR_GPU_IS_LOST]

    in_child(body)


def test_latency_is_added_to_each_call_of_that_gpu_only(in_child):
    def body():
        from tests.demo.nvml_probe import nv, seconds, write

        nv.nvmlInit()
        h0, h1 = (nv.nvmlDeviceGetHandleByIndex(gpu) for gpu in (0, 1))
        write({"gpu0.latency_us": 60_000})
        assert seconds(lambda: nv.nvmlDeviceGetUtilizationRates(h0)) >= 0.06
        assert min(seconds(lambda: nv.nvmlDeviceGetUtilizationRates(h1)) for _ in range(5)) < 0.03

    in_child(body)


def test_init_fails_as_told_and_without_a_values_file(in_child):
    def body():
        from tests.demo.nvml_probe import VALUES, code_of, nv, write

        write({"init": "!9"})
        assert code_of(nv.nvmlInit) == nv.NVML_ERROR_DRIVER_NOT_LOADED
        write({"init": "!18"})
        assert code_of(nv.nvmlInit) == nv.NVML_ERROR_LIB_RM_VERSION_MISMATCH
        assert code_of(nv.nvmlDeviceGetCount) == nv.NVML_ERROR_UNINITIALIZED
        write()
        assert code_of(nv.nvmlInit) == 0
        nv.nvmlShutdown()
        VALUES.unlink()
        assert code_of(nv.nvmlInit) == nv.NVML_ERROR_DRIVER_NOT_LOADED

    in_child(body)


def test_each_replacement_of_the_values_is_seen_by_the_next_call(in_child):
    def body():
        from tests.demo.nvml_probe import nv, write

        nv.nvmlInit()
        h = nv.nvmlDeviceGetHandleByIndex(7)
        for power_w in range(100, 300):  # all of one size, and two at a time, so that inodes come round again
            write({"gpu7.power_w": 999})
            write({"gpu7.power_w": power_w})
            assert nv.nvmlDeviceGetPowerUsage(h) == power_w * 1000

    in_child(body)


def test_many_threads_read_while_the_values_change(in_child):
    def body():
        import threading

        from tests.demo.nvml_probe import nv, write

        nv.nvmlInit()
        write({"gpu0.power_w": 100})
        seen: set[int] = set()

        def read() -> None:
            h = nv.nvmlDeviceGetHandleByIndex(0)
            seen.update(nv.nvmlDeviceGetPowerUsage(h) for _ in range(2000))

        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        for power_w in range(101, 160):
            write({"gpu0.power_w": power_w})
        for thread in threads:
            thread.join(20.0)
        assert seen <= {power_w * 1000 for power_w in range(100, 160)}
        assert len(seen) > 1

    in_child(body)


def test_compute_processes_are_listed_empty_or_unsupported(in_child):
    def body():
        from tests.demo.nvml_probe import code_of, nv, write

        nv.nvmlInit()
        h = nv.nvmlDeviceGetHandleByIndex(3)
        assert nv.nvmlDeviceGetComputeRunningProcesses_v3(h) == []
        write({"gpu3.pids": "123,4567"})
        processes = nv.nvmlDeviceGetComputeRunningProcesses_v3(h)
        assert [(p.pid, p.usedGpuMemory) for p in processes] == [(123, None), (4567, None)]
        write({"gpu3.pids": None})
        assert code_of(nv.nvmlDeviceGetComputeRunningProcesses_v3, h) == nv.NVML_ERROR_NOT_SUPPORTED

    in_child(body)
