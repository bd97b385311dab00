"""dcgm-exporter texts made for tests. Synthetic: no GPU gave these numbers."""

from __future__ import annotations

UUID = "GPU-604ac76c-d9cf-fef3-62e9-d92044ab6e52"
OTHER = "GPU-06357e72-c3ee-614b-775f-a89e18e8cc08"


def series(name: str, value: object, *, gpu: int = 0, of: str = UUID, **labels: str) -> str:
    said = {
        "gpu": str(gpu),
        "UUID": of,
        "pci_bus_id": f"00000000:0{gpu}:00.0",
        "device": f"nvidia{gpu}",
    } | labels
    inner = ",".join(f'{k}="{v}"' for k, v in said.items() if v != "")
    return f"{name}{{{inner}}} {value}\n"


def dev(name: str, value: object, **labels: str) -> str:
    return series(f"DCGM_FI_DEV_{name}", value, **labels)  # type: ignore[arg-type]
