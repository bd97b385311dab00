"""The settings: one frozen dataclass per table of `foreshock.toml`, with their defaults and what they mean.

Keys carry their unit. Secrets are named by file or environment variable, never written here.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, field
from pathlib import Path

from collector.clock import Clock, ScaledClock, SystemClock


def _state_dir() -> Path:
    system = Path("/var/lib/foreshock")
    if os.access(system if system.exists() else system.parent, os.W_OK):
        return system
    home = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(home) / "foreshock"


@dataclass(frozen=True, slots=True)
class CollectorConfig:
    """The node agent."""

    node: str = field(default_factory=socket.gethostname)
    interval_s: float = 1.0
    """Seconds between two ticks."""
    flush_s: float = 5.0
    """Telemetry of this many seconds travels as one record."""
    deadline_s: float = 2.0
    """Real seconds NVML may take for one GPU before it counts as hung."""
    hang_retry_s: float = 10.0
    """A hung GPU is asked again after this long, doubling up to `hang_retry_max_s`."""
    hang_retry_max_s: float = 300.0
    nvml_library: str = ""
    """Path of libnvidia-ml.so.1; empty means the one the system finds."""
    kmsg: str = "/dev/kmsg"
    """Kernel log device, file or FIFO; empty turns it off."""
    kmsg_accept_userspace: bool = False
    """Accept lines that user space wrote to /dev/kmsg. Anyone can forge those."""
    dcgm_url: str = ""
    """Read an existing dcgm-exporter (http://host:9400/metrics) in place of NVML. Use interval_s = 15 with it."""
    dcgm_node_from_label: bool = False
    """The text tells of several hosts (a federation): take the node from its Hostname label."""
    dcgm_cafile: str = ""
    dcgm_authorization_file: str = ""
    """File with the Authorization header for `dcgm_url`, e.g. `Bearer ...`."""
    job_mapping_dir: str = ""
    """dcgm-exporter's HPC job-mapping directory, where prologs write which job holds a GPU."""
    checkpoint_dir: str = ""
    """Where trainers write NAME.checkpoint.json when they save (docs/checkpoint.md); empty turns it off."""
    hold_dir: str = ""
    """One file per incident that holds this node back (`bridge.hold_dir`); told by `health_check_socket`."""
    health_check_socket: str = ""
    """Unix socket on which NVRx's ft_launcher asks whether to use this node; needs the extra `nvrx`."""
    kubelet_socket: str = ""
    """kubelet's pod-resources socket; needs the extra `kubernetes`."""
    listen: str = "127.0.0.1:9481"
    """Address of /metrics and /healthz; empty turns them off."""
    fold_s: float = 10.0
    """The same code on the same GPU within this time, from another source, is the same event."""
    xid_overrides: str = ""
    """TOML file with this site's own rows of the Xid catalogue ([xid.79] action = ...)."""
    synthetic: bool = False
    """Label every row as simulated."""


@dataclass(frozen=True, slots=True)
class SpoolConfig:
    """The durable queue on the node, and the embedded stream where there is no broker."""

    path: Path = field(default_factory=lambda: _state_dir() / "spool.db")
    max_mib: float = 1024.0
    """When full, the oldest telemetry is dropped and counted. Events are never dropped."""


@dataclass(frozen=True, slots=True)
class KafkaConfig:
    """The broker. Empty `bootstrap_servers` means the embedded stream."""

    bootstrap_servers: str = ""
    security_protocol: str = "PLAINTEXT"
    ssl_cafile: str = ""
    ssl_certfile: str = ""
    ssl_keyfile: str = ""
    sasl_mechanism: str = ""
    sasl_username: str = ""
    sasl_password_file: str = ""
    compression: str = "lz4"
    partitions: int = -1
    """Partitions of a topic that we create; -1 is the broker's own default. As many as there may be workers."""
    replication_factor: int = -1
    session_s: float = 10.0
    """A consumer that is not heard for so long (killed, say) loses its partitions. The broker's least is 6."""
    topic_prefix: str = ""
    """Put before every topic name, so that two fleets (or a trial) can share one broker."""
    ingest_group: str = "foreshock-ingest"
    watch_group: str = "foreshock-watch"


@dataclass(frozen=True, slots=True)
class LakeConfig:
    """Delta tables, partitioned by date. A path today, an object store URL tomorrow."""

    path: Path = field(default_factory=lambda: _state_dir() / "lake")


@dataclass(frozen=True, slots=True)
class IngestConfig:
    """The worker that turns the stream into rollups, features, risks and the lake."""

    lateness_s: float = 10.0
    """A minute of a silent node closes when its neighbours are this far past it."""
    flush_s: float = 5.0
    """Telemetry and events reach the lake at least this often (real seconds)."""
    watch_level: float = 0.05
    """Risks from here on travel to the watcher."""
    dead_letters_per_minute: int = 1000
    """Unreadable records of one worker that are published; more are counted, and a summary tells of them."""


@dataclass(frozen=True, slots=True)
class UpkeepConfig:
    """What the lake does for itself: small files into larger ones, old rows and dead files away."""

    enabled: bool = True
    every_s: float = 300.0
    """Seconds between two rounds."""
    telemetry_days: float = 30.0
    """Days of raw samples that are kept; 0 keeps them for ever. Today is not counted."""
    rollup_days: float = 730.0
    """The same for rollups and predictions. Events, incidents, actions and inventory are always kept."""
    vacuum_after_s: float = 3600.0
    """A file that compaction replaced stays this long: longer than any reader's query and any published catalogue."""
    log_days: float = 1.0
    """How long the commits of the Delta log are kept once a checkpoint holds them."""
    small_files: int = 8
    """So many small files of one size class in one day are made one."""
    target_mib: float = 128.0
    """Files from half this size on are left alone."""
    target_rows: int = 1_000_000
    """The same in rows: what is sorted at once."""
    memory_mib: float = 1024.0
    """What sorting may use; more goes to a temporary folder."""


@dataclass(frozen=True, slots=True)
class ModelsConfig:
    """Where trained models are kept, and which of them serves."""

    registry: Path = field(default_factory=lambda: _state_dir() / "models")
    """A folder on a local or shared file system. While no model in it is promoted, the rules score."""


@dataclass(frozen=True, slots=True)
class WatchConfig:
    """The loop that turns risks and events into incidents and actions."""

    alarm_level: float = 0.5
    """A risk from here on opens an incident and asks for a checkpoint, then a drain."""
    own_level: bool = True
    """Alarm at the operating point on the card of the model that spoke; `alarm_level` where it has none."""
    clear_level: float = 0.1
    """An open incident recovers when the risk stays below this for `clear_s`."""
    clear_s: float = 1800.0
    dry_run: bool = True
    """Decide and record, but send nothing. Off only by the operator."""
    armed: tuple[str, ...] = ("checkpoint", "drain", "drain_now", "release")
    """With `dry_run = false`: only these are sent, the others stay dry runs."""
    migrate: bool = False
    """A predicted fault may move a running job (save, exit, requeue) where that costs it least."""
    release_failed: bool = False
    """Lift our drain by itself after a real fault too, once the GPU looked healthy for `clear_s`."""
    checkpoints_per_job_hour: int = 4
    drained_nodes: int = 16
    """Nodes that Foreshock holds drained at once, at most."""
    predicted_drains: int = 4
    """Of them those that no fault has confirmed."""
    cool_down_s: float = 3600.0
    """After a recovery, a mere risk on the same GPU asks for nothing for so long."""
    maintenance: tuple[str, ...] = ()
    """Each "NODES BEGIN END", e.g. "rack7-* 2026-11-24T22:00Z 2026-11-25T04:00Z": written down, nothing asked."""
    job_interval_s: float = 1800.0
    """Assumed of jobs that do not tell of their checkpoints: how often they save ..."""
    job_checkpoint_s: float = 60.0
    """... how long that takes ..."""
    job_recovery_s: float = 1200.0
    """... how long a crash costs them beside the lost work ..."""
    job_move_s: float = 300.0
    """... and how long a planned move."""
    outbox: Path = field(default_factory=lambda: _state_dir() / "outbox.db")
    webhook_url: str = ""
    webhook_secret_file: str = ""
    """File with the Standard Webhooks secret (`whsec_...`), one a line: all sign, so that a key can be rotated."""
    webhook_timeout_s: float = 5.0
    """How long any receiver may take to answer."""
    alertmanager_url: str = ""
    """Alertmanager that hears of every incident, e.g. `http://alertmanager:9093`; empty means none."""
    slack_url_file: str = ""
    """File with the URL of a Slack-compatible incoming webhook, which is a secret; empty means none."""
    runbook_url: str = ""
    """Where the runbooks are: `{cause}` in it is replaced, else the cause becomes the last part of the path."""
    dashboard_url: str = ""
    """Where people find the dashboard, for the links in notices, e.g. `https://foreshock.example.org`."""
    deliver_for_s: float = 3600.0
    """Keep trying to deliver for this long; then it is a visible dead letter."""


@dataclass(frozen=True, slots=True)
class BridgeConfig:
    """The webhook receiver that acts on a scheduler or a command."""

    listen: str = "127.0.0.1:9480"
    secret_file: str = ""
    state: Path = field(default_factory=lambda: _state_dir() / "bridge.db")
    dry_run: bool = True
    """Log what would be done. Off only by the operator."""
    tolerance_s: float = 300.0
    """Webhooks older or newer than this are refused (replay protection)."""
    signal: str = "USR1"
    """Checkpoint signal. Sent only to a process that handles it (SigCgt)."""
    migrate_signal: str = "TERM"
    """`bridge slurm|command`: asks a rank to save and exit. Sent only to a process that handles it."""
    requeue: bool = False
    """`bridge slurm`: requeue a job that still runs `acknowledge_timeout_s` after it was asked to leave."""
    slurm_rest_url: str = ""
    """`bridge slurm`: slurmrestd (https://host:6820) for drains in place of scontrol. Signals stay local."""
    slurm_token_file: str = ""
    """File with the JWT of `slurm_rest_url`, as `scontrol token` prints it; it is read anew each time."""
    pid_dir: str = ""
    """`bridge command`: directory of NAME.pid files of the training processes."""
    acknowledge_dir: str = ""
    """`bridge command`: where a job writes NAME.checkpoint.json when its checkpoint is on disk."""
    hold_dir: str = ""
    """`bridge command`: a drain puts INCIDENT.hold here, and its release takes it away (`collector.hold_dir`)."""
    flag_dir: str = ""
    """`bridge command`: a job that takes no signal keeps NAME.checkpoint-request here; we touch it to ask."""
    acknowledge_timeout_s: float = 60.0
    drain_command: tuple[str, ...] = ()
    """`bridge command`: argv run to drain a node; gets FORESHOCK_* in its environment."""
    release_command: tuple[str, ...] = ()
    """`bridge command`: argv run to lift it; FORESHOCK_INCIDENT says whose drain, and it must lift no other."""
    kubernetes_url: str = ""
    """`bridge kubernetes`: API server; empty means the in-cluster service account."""
    kubernetes_token_file: str = ""
    kubernetes_ca_file: str = ""
    kubernetes_cordon: bool = False
    """Cordon beside the taint. Lifted only where it is ours."""
    kubernetes_evict: bool = False
    """`drain_now` evicts the pods that are known to hold the GPU: SIGTERM, then the grace period."""
    kubernetes_evict_all: bool = False
    """With it: all GPU pods of the node where the API server does not say which one holds the GPU."""
    kubernetes_evict_grace_s: float = 0.0
    """Seconds from SIGTERM to SIGKILL; 0 means each pod's own terminationGracePeriodSeconds."""
    kubernetes_evict_for_s: float = 120.0
    """Ask again for this long where a PodDisruptionBudget says no."""
    kubernetes_device_taint: bool = False
    """GPUs are given out by DRA: `drain` taints the one device (DeviceTaintRule), not the node."""
    kubernetes_nvsentinel: bool = False
    """`drain_now` creates NVSentinel's MaintenanceRequest, which cordons and drains, instead of our taint."""


@dataclass(frozen=True, slots=True)
class DashboardConfig:
    """The ops dashboard."""

    listen: str = "127.0.0.1:8501"
    may_write: bool = False
    """Let people acknowledge, silence and note incidents on the page: it runs `foreshock incidents` for them."""
    user_header: str = ""
    """Header in which a reverse proxy names the user, e.g. `X-Forwarded-User`. Only behind a proxy that sets it."""


@dataclass(frozen=True, slots=True)
class ClockConfig:
    """A faster clock for the demo. Leave it alone in production."""

    speed: float = 1.0
    origin_unix_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Config:
    """Everything `foreshock.toml` may say."""

    collector: CollectorConfig = field(default_factory=CollectorConfig)
    spool: SpoolConfig = field(default_factory=SpoolConfig)
    kafka: KafkaConfig = field(default_factory=KafkaConfig)
    lake: LakeConfig = field(default_factory=LakeConfig)
    ingest: IngestConfig = field(default_factory=IngestConfig)
    upkeep: UpkeepConfig = field(default_factory=UpkeepConfig)
    models: ModelsConfig = field(default_factory=ModelsConfig)
    watch: WatchConfig = field(default_factory=WatchConfig)
    bridge: BridgeConfig = field(default_factory=BridgeConfig)
    dashboard: DashboardConfig = field(default_factory=DashboardConfig)
    clock: ClockConfig = field(default_factory=ClockConfig)
    path: str = ""
    """The file this came from; empty means the defaults."""

    def make_clock(self) -> Clock:
        if self.clock.speed == 1.0:
            return SystemClock()
        return ScaledClock(self.clock.speed, self.clock.origin_unix_s)
