"""The words of the catalogue: what its short terms mean in a sentence."""

from __future__ import annotations

from typing import Final, Literal

Terminal = Literal["yes", "maybe", "no"]
Action = Literal["ignore", "observe", "checkpoint", "drain_after_job", "checkpoint_and_drain", "drain_now"]

GONE: Final[dict[Terminal, str]] = {
    "yes": "yes: unusable until it is reset or the node rebooted",
    "maybe": "maybe: its process is gone or it depends on the rest of the line; the GPU may go on",
    "no": "no: it goes on working",
}
ACTION: Final[dict[Action, str]] = {
    "ignore": "recorded, nothing else",
    "observe": "counted and fed to the risk model; no action from one line",
    "checkpoint": "asks the job to save now and lets it go on",
    "drain_after_job": "takes no new job to this GPU; the running one may finish",
    "checkpoint_and_drain": "asks the job to save, then moves it off this GPU",
    "drain_now": "moves the job off at once, lets no new one in: nothing can be saved from this GPU",
}
SCOPE: Final = {
    "app": "the application",
    "hw": "hardware",
    "driver": "the driver or firmware",
    "thermal": "heat",
    "consequence": "a consequence of another error",
    "advice": "advice of the driver about another error",
    "test": "a test event",
    "unused": "unknown (the code is out of use)",
}
NVIDIA: Final = {
    "IGNORE": "no action",
    "RESTART_APP": "restart the application",
    "RESET_GPU": "reset the GPU",
    "RESTART_BM": "reboot the machine",
    "RESTART_VM": "restart the virtual machine",
    "CONTACT_SUPPORT": "contact support",
    "CHECK_APP/CUDA": "check the application and its CUDA use",
    "CHECK_MECHANICALS": "check cables and seating",
    "CHECK_UVM": "reset if unified memory is in use",
    "UPDATE_SWFW": "update driver and firmware",
    "INVESTIGATE_SW": "look for a software cause",
    "INVESTIGATE_SW_USER": "look for what asked for it",
    "INVESTIGATE_LINK_SI": "check the signal quality of the link",
    "IGNORE (sympathetic)": "follow the Xid beside it",
    "SYMPATHETIC_REPORT_SOLO": "follow the Xid beside it; report it if it is alone",
    "WORKFLOW_XID_13": "run diagnostics if it repeats on the same GPC and TPC",
    "WORKFLOW_XID_31": "run diagnostics if it repeats on the same GPU",
    "WORKFLOW_XID_45": "follow the Xid that caused it",
    "WORKFLOW_XID_48": "drain and reset the GPU",
    "WORKFLOW_NVLINK_ERR": "follow the NVLink workflow: find the bad end, reset",
    "WORKFLOW_NVLINK5_ERR": "decode the sub-code, then follow its row",
    "XID_137_FLOW": "check peer access of the application, then the link",
    "XID_154": "do what the line says",
}
# fmt: off
SWITCH_UNITS: Final = (
    "host interface", "ingress port", "egress port", "port request state", "port transaction state",
    "port routing", "port", "NVLink control", "NVLink top (NVLIPT)", "NVLink transaction layer (NVLTLC)",
    "NVLink data link (DLPL)", "crossbar (AFS)", "link micro-controller (MINION)", "crossbar (NXBAR)",
    "port source tracking", "one NVLink (NVLIPT_LNK)", "switch micro-controller (SOE)", "cable controller (CCI)",
    "cable temperature, or port multicast state in older drivers", "port multicast state", "port reduction state",
)
"""SXid 10000, 11000, ... 30000: the enumeration nvswitch_err_type of ctrl_dev_nvswitch.h, in its order."""
# fmt: on
