"""Incidents and actions as the watcher writes them, and the page that shows them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest
from streamlit.testing.v1 import AppTest

from alerting.incident import Incident, IncidentRow, Sighting, incident_row
from collector.records import Reason
from pipeline.lake import Lake

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
REASON = Reason(
    feature="nvlink_crc_3m", value=2131.0, healthy="< 30", share=0.27, text="NVLink CRC errors are ramping"
)


def script() -> None:
    """What a page of the app runs; the config comes from $FORESHOCK_CONFIG."""
    from collector.config_file import load
    from dashboard.incidents import page as incidents

    incidents.page(load())


def opened(lake: Path, monkeypatch: pytest.MonkeyPatch, more: str = "", **url: str) -> AppTest:
    config = lake.parent / "foreshock.toml"
    config.write_text(f'[lake]\npath = "{lake}"\n[spool]\npath = "{lake.parent}/spool.db"\n{more}')
    monkeypatch.setenv("FORESHOCK_CONFIG", str(config))
    app = AppTest.from_function(script, default_timeout=60)
    app.query_params.update(url)
    return app.run()


def text(app: AppTest) -> str:
    kinds = (app.title, app.subheader, app.markdown, app.caption, app.error, app.info, app.warning, app.code)
    return "\n".join(element.value for kind in kinds for element in kind)


def change(name: Any, incident: Incident, minute: float) -> IncidentRow:
    summary = (
        f"GPU fault predicted: GPU {incident.gpu_index} of {incident.node} (GPU-a, 0000:18:00)\nSince then"
    )
    return incident_row(name, incident, summary, (NOON + timedelta(minutes=minute)).timestamp())


def incident(number: int, **more: Any) -> Incident:
    told = {"severity": "warning", "cause": "predicted_fault", "node": f"node{number:04d}"} | more
    begun_s = (NOON + timedelta(minutes=number)).timestamp()
    return Incident(
        incident_id=f"inc-20260301T12{number:02d}00-0000000{number}", gpu_uuid=f"GPU-{number}", gpu_index=number,
        pci_bdf=None, opened_s=begun_s, last_signal_s=begun_s, **told,
    )  # fmt: skip


def write(lake: Path, *rows: IncidentRow) -> None:
    Lake(lake).append("incidents", pl.DataFrame([msgspec.structs.asdict(row) for row in rows]))


def write_three(lake: Path) -> None:
    """One open, one failed, one recovered; the failed one has its whole story."""
    calm = incident(1, risk=0.6, peak_risk=0.6)
    over = incident(2, state="recovered", node="node0009", synthetic=True)
    begun = incident(3, risk=0.7, peak_risk=0.7, horizon_s=3600, model_id="m-1", reasons=(REASON,), job="4711",
                     asked=("checkpoint",), held={"drain": "16 nodes are drained already"})  # fmt: skip
    seen = Sighting(
        time=(NOON + timedelta(minutes=6)).timestamp(), kind="xid", code=79, text="fallen off the bus"
    )
    failed = msgspec.structs.replace(
        begun, state="failed", severity="critical", code=79, sightings=(seen,), asked=("checkpoint", "drain_now"),
        notes=("12:08:00 ann: acknowledge on it",), acknowledged_by="ann",
    )  # fmt: skip
    write(lake, change("opened", calm, 1), change("opened", over, 2), change("opened", begun, 3))
    write(lake, change("failed", failed, 7), change("recovered", over, 9))
    common = {
        "incident_id": failed.incident_id,
        "intent": "checkpoint",
        "node": failed.node,
        "synthetic": False,
    }
    asked = common | {"action_id": "a", "action": "checkpoint"}
    Lake(lake).append("actions", pl.DataFrame([
        asked | {"time": NOON, "state": "decided", "detail": "checkpoint pays: p 0.70 > 0.067"},
        asked | {"time": NOON + timedelta(seconds=2), "state": "delivered", "detail": "accepted by the receiver"},
        asked | {"time": NOON + timedelta(seconds=5), "state": "acknowledged", "detail": "saved at step 812"},
        common | {"action_id": "b", "action": "drain", "time": NOON + timedelta(seconds=9), "state": "dry_run",
                  "detail": "drain pays: p 0.70 > 0.171"},
    ]))  # fmt: skip
