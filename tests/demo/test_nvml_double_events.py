"""Xid events of the driver double, through the real pynvml, each test in a process of its own."""

from __future__ import annotations


def test_an_xid_wakes_the_waiter_within_half_a_second(in_child):
    def body():
        import threading
        import time

        from tests.demo.nvml_probe import EVENTS, nv

        EVENTS.write_text("5 13\n")  # before the set exists: not for it
        nv.nvmlInit()
        h5 = nv.nvmlDeviceGetHandleByIndex(5)
        events = nv.nvmlEventSetCreate()
        assert nv.nvmlDeviceGetSupportedEventTypes(h5) == nv.nvmlEventTypeXidCriticalError
        nv.nvmlDeviceRegisterEvents(h5, nv.nvmlEventTypeXidCriticalError, events)
        got = []

        def wait() -> None:
            event = nv.nvmlEventSetWait_v2(events, 5000)
            got.append(
                (nv.nvmlDeviceGetIndex(event.device), event.eventType, event.eventData, time.monotonic())
            )

        waiter = threading.Thread(target=wait, daemon=True)
        waiter.start()
        waiter.join(0.1)
        assert waiter.is_alive()
        written_s = time.monotonic()
        with EVENTS.open("a") as f:
            f.write("6 31\n5 7")  # GPU 6 is not registered, the second line is not whole yet
            f.flush()
            waiter.join(0.1)
            assert waiter.is_alive()
            f.write("9\n")
        waiter.join(2.0)
        assert [g[:3] for g in got] == [(5, nv.nvmlEventTypeXidCriticalError, 79)]
        assert got[0][3] - written_s < 0.5

    in_child(body)


def test_events_of_a_lost_gpu_still_arrive_in_order_and_then_the_wait_times_out(in_child):
    def body():
        from tests.demo.nvml_probe import EVENTS, code_of, nv, seconds, write

        nv.nvmlInit()
        events = nv.nvmlEventSetCreate()
        for gpu in range(8):
            h = nv.nvmlDeviceGetHandleByIndex(gpu)
            nv.nvmlDeviceRegisterEvents(h, nv.nvmlEventTypeXidCriticalError, events)
        write({"gpu5.lost": 1})
        EVENTS.write_text("5 79\nnot an event\n0 31\n5 45\n")
        assert [nv.nvmlEventSetWait_v2(events, 1000).eventData for _ in range(3)] == [79, 31, 45]
        assert 0.1 <= seconds(lambda: code_of(nv.nvmlEventSetWait_v2, events, 100)) < 1.0
        assert code_of(nv.nvmlEventSetWait_v2, events, 0) == nv.NVML_ERROR_TIMEOUT
        write({"events": "!15"})
        assert code_of(nv.nvmlEventSetWait_v2, events, 100) == nv.NVML_ERROR_GPU_IS_LOST
        nv.nvmlEventSetFree(events)

    in_child(body)


def test_event_types_it_cannot_deliver_are_refused(in_child):
    def body():
        from tests.demo.nvml_probe import code_of, nv

        nv.nvmlInit()
        h, events = nv.nvmlDeviceGetHandleByIndex(0), nv.nvmlEventSetCreate()
        more = nv.nvmlEventTypeXidCriticalError | nv.nvmlEventTypeClock
        assert code_of(nv.nvmlDeviceRegisterEvents, h, more, events) == nv.NVML_ERROR_NOT_SUPPORTED

    in_child(body)
