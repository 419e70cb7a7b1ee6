"""What each of a device's 21 diagnostic tools returns: schema 4, closed, in typed models.

Only shapes; what they mean and how `diag/summary` scores is `loop.diagnostics`. Unknown is data on
a device: null, missing keys and empty lists are frequent.

Source:
    functionland/blox-ai 6bf006a, src/tools.
"""

from typing import Annotated, Literal

from pydantic import Field

from loop.wire import Count, Instant, Level, Maybe, NotNegative, Number, Object, Whole, Wire, Words

Short = Annotated[str, Field(max_length=64)]
Long = Annotated[str, Field(max_length=500)]
Reason = Annotated[str, Field(max_length=200)]
Brief = Annotated[str, Field(max_length=32)]

SubsystemName = Literal[
    "internet", "relay", "time", "power", "storage", "containers", "wireguard", "heartbeat"
]


class Subsystem(Wire):
    """One line of the summary."""

    status: Level
    key_metrics: Maybe[Object] = None


class Summary(Wire):
    """diag/summary: all eight subsystems at one glance."""

    overall: Level
    subsystems: dict[SubsystemName, Subsystem]
    generated_at: Instant


class Internet(Wire):
    """diag/internet."""

    dns_ok: bool
    https_google_ok: bool
    https_discovery_ok: bool
    latency_ms_avg: Maybe[NotNegative] = None
    captive_portal_likely: Maybe[bool] = None
    checked_at: Maybe[Instant] = None


class RelayAddress(Wire):
    """One announced circuit address."""

    addr: Words
    dns_name: Maybe[str] = None
    swarm_connect_ok: Maybe[bool] = None
    has_circuit_reservation: Maybe[bool] = None
    latency_ms: Maybe[NotNegative] = None


class Relay(Wire):
    """diag/relay."""

    relays: list[RelayAddress]
    reservation_count: Count
    checked_at: Maybe[Instant] = None


class Time(Wire):
    """diag/time."""

    synced: bool
    offset_ms: Maybe[Number] = None
    service: Maybe[Literal["chronyd", "systemd-timesyncd", "none", "unknown"]] = None
    last_sync_ts: Maybe[Instant] = None


class Power(Wire):
    """diag/power."""

    uptime_s: Count
    undervoltage_events_24h: Maybe[Count] = None
    recent_reboots: Maybe[Count] = None
    max_temp_c: Maybe[Number] = None
    soc_voltage_ratio: Maybe[NotNegative] = None


class Storage(Wire):
    """diag/storage; `df` by mount point."""

    df: Object
    ext4_errors_count: Count
    dmesg_io_errors_1h: Count
    smartctl_health: Maybe[Literal["PASSED", "FAILED", "unknown"]] = None


class Container(Wire):
    """One watched container."""

    name: Words
    state: Literal["running", "restarting", "exited", "paused", "dead", "created"]
    oom_killed: Maybe[bool] = None
    restart_count: Maybe[Count] = None
    image: Maybe[str] = None
    started_at: Maybe[Instant] = None


class Containers(Wire):
    """diag/containers; an empty list when docker is silent."""

    containers: list[Container]


class Wireguard(Wire):
    """diag/wireguard."""

    installed: bool
    registered: bool
    active: bool
    last_handshake_age_sec: Maybe[Whole] = None
    rx_bytes: Maybe[Count] = None
    tx_bytes: Maybe[Count] = None
    persistent_keepalive_sec: Maybe[Count] = None


class Heartbeat(Wire):
    """diag/heartbeat."""

    last_attempt_ts: Instant
    http_status: Maybe[Count] = None
    error: Maybe[Annotated[str, Field(max_length=1000)]] = None
    last_circuit_count: Maybe[Count] = None
    last_reserved_on: Maybe[list[str]] = None


class LoggedEvent(Wire):
    """One line of the event log."""

    ts: Instant
    category: Annotated[Words, Field(max_length=64)]
    detail: Annotated[str, Field(max_length=2000)]


class Events(Wire):
    """diag/events."""

    events: list[LoggedEvent]


class Readiness(Wire):
    """diag/readiness."""

    recent_log: str
    last_failure_ts: Maybe[Instant] = None
    recover_state: Maybe[Object] = None


class DiscoveryState(Wire):
    """diag/discovery_state; `ok` null: never checked."""

    ok: bool | None
    last_check_ts: Maybe[Instant] = None
    error: Maybe[Long] = None
    latency_ms: Maybe[NotNegative] = None


class Service(Wire):
    """One unit; `active` null: systemctl did not answer."""

    name: Words
    active: bool | None
    state: Annotated[Words, Field(max_length=64)]
    sub_state: Maybe[Short] = None
    result: Maybe[Short] = None


class SystemdServices(Wire):
    """diag/systemd_services."""

    services: list[Service]


class Interface(Wire):
    """One network interface."""

    name: Words
    operstate: Annotated[Words, Field(max_length=32)]
    mtu: Count | None = None
    mac: Maybe[str] = None
    ipv4: Maybe[list[str]] = None
    ipv6: Maybe[list[str]] = None
    wifi_associated: Maybe[bool] = None
    wifi_ssid: Maybe[str] = None
    wifi_signal_dbm: Maybe[Whole] = None
    wifi_tx_bitrate_mbps: Maybe[NotNegative] = None
    wifi_freq_mhz: Maybe[Count] = None


class NetworkTools(Wire):
    """Which programs the device has; a missing one returns nothing."""

    ip: bool
    iw: bool


class NetworkInterface(Wire):
    """diag/network_interface; dense with what identifies a home."""

    tools_present: NetworkTools
    interfaces: list[Interface]


class Uniondrive(Wire):
    """diag/uniondrive."""

    mounted: bool
    mergerfs_installed: bool
    mergerfs_version: Maybe[Short] = None
    mount_source: Maybe[str] = None
    mount_fstype: Maybe[str] = None
    mount_options: Maybe[Long] = None
    size_bytes: Maybe[Count] = None
    used_bytes: Maybe[Count] = None
    avail_bytes: Maybe[Count] = None
    use_percent: Maybe[Annotated[Count, Field(le=100)]] = None
    backing_device: Maybe[Short] = None
    ext4_errors_count: Maybe[Count] = None
    dmesg_io_errors_1h: Maybe[Count] = None


class IdentityHealth(Wire):
    """diag/identity_health; null: the chain could not be asked, the reason says why."""

    pool_member: bool | None
    pool_member_reason: Reason
    online_recent: bool | None
    online_recent_reason: Reason
    pool_id: Maybe[Count] = None
    chain: Maybe[Brief] = None
    cluster_peer_id: Maybe[str] = None
    cluster_peer_id_bytes32: Maybe[Annotated[str, Field(pattern=r"^0x[0-9a-fA-F]{64}$")]] = None
    authorizer_peer_id: Maybe[str] = None
    pool_member_address: Maybe[Annotated[str, Field(pattern=r"^0x[0-9a-fA-F]{40}$")]] = None
    online_count: Maybe[Count] = None
    online_total_expected: Maybe[Count] = None
    online_window_s: Maybe[Count] = None


class KuboHealth(Wire):
    """diag/kubo_health; only the truth value when kubo is silent."""

    daemon_reachable: bool
    peer_id: Maybe[str] = None
    agent_version: Maybe[Annotated[str, Field(max_length=128)]] = None
    addresses_count: Maybe[Count] = None
    version: Maybe[Brief] = None
    commit: Maybe[Brief] = None
    swarm_peer_count: Maybe[Count] = None


class MdnsInfo(Wire):
    """What the device last announced in its network; the keys are the device's."""

    BloxPeerIdString: Maybe[str] = None
    IpfsClusterID: Maybe[str] = None
    PoolName: Maybe[str] = None
    Authorizer: Maybe[str] = None
    HardwareID: Maybe[str] = None


class FulaGoHealth(Wire):
    """diag/fula_go_health."""

    container_running: bool
    container_state: Maybe[Brief] = None
    restart_count: Maybe[Count] = None
    container_started_at: Maybe[Instant] = None
    mdns_broadcasts_in_tail: Maybe[Count] = None
    last_mdns_loaded_ts: Maybe[Instant] = None
    last_pool_event_ts: Maybe[Instant] = None
    last_pool_event_excerpt: Maybe[Annotated[str, Field(max_length=300)]] = None
    last_mdns_info: Maybe[MdnsInfo] = None


class ContainerImage(Wire):
    """What one container runs against what it should run."""

    container: Words
    actual_image: str
    expected_image: str
    match: bool


class ImageVersions(Wire):
    """diag/image_versions."""

    containers: list[ContainerImage]
    mismatched_containers: list[str]
    expected_pins: Maybe[dict[str, str]] = None


class BleState(Wire):
    """diag/ble_state; `present` null: no state file yet."""

    present: bool | None
    last_session_ts: Maybe[Reason] = None
    last_command: Maybe[Reason] = None
    last_command_ts: Maybe[Reason] = None
    session_count_24h: Maybe[Count] = None


class Plugin(Wire):
    """One installed plugin."""

    name: Words
    active: bool
    status: Maybe[Short] = None
    display_name: Maybe[Long] = None
    version: Maybe[Long] = None
    description: Maybe[Long] = None


class Plugins(Wire):
    """diag/plugins."""

    active: list[str]
    installed: list[Plugin]


SHAPES: dict[str, type[Wire]] = {
    "diag/summary": Summary,
    "diag/internet": Internet,
    "diag/relay": Relay,
    "diag/time": Time,
    "diag/power": Power,
    "diag/storage": Storage,
    "diag/containers": Containers,
    "diag/wireguard": Wireguard,
    "diag/heartbeat": Heartbeat,
    "diag/events": Events,
    "diag/readiness": Readiness,
    "diag/discovery_state": DiscoveryState,
    "diag/systemd_services": SystemdServices,
    "diag/network_interface": NetworkInterface,
    "diag/uniondrive": Uniondrive,
    "diag/identity_health": IdentityHealth,
    "diag/kubo_health": KuboHealth,
    "diag/fula_go_health": FulaGoHealth,
    "diag/image_versions": ImageVersions,
    "diag/ble_state": BleState,
    "diag/plugins": Plugins,
}
"""Every tool by the name a model calls it."""
