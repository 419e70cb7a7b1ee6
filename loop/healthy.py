"""What each diagnostic of a healthy Blox answers, with the noise of real homes.

Every builder draws from one random generator, so a seed names the whole device. Fields stand in
the order of the device's schema. Instants are `<TS>`, as a phone leaves them in an upload.
"""

from collections.abc import Callable, Mapping
from random import Random

from loop.values import Json

INSTANT = "<TS>"
WATCHED = {
    "ipfs_host": "ipfs/kubo:release",
    "ipfs_cluster": "functionland/ipfs-cluster:release",
    "fula_go": "functionland/go-fula:release",
    "fula_pinning": "functionland/fula-pinning:release",
    "fula_gateway": "functionland/fula-gateway:release",
    "fula_fxsupport": "functionland/fxsupport:release",
    "blox-ai": "functionland/blox-ai:release",
}
UNITS = (
    "fula.service",
    "uniondrive.service",
    "wireguard-support.service",
    "fula-readiness-check.service",
    "docker.service",
    "blox-ai.service",
)


def metrics(rng: Random) -> dict[str, dict[str, Json]]:
    """The key metrics of diag/summary by subsystem; their statuses follow from them."""
    tunnel = rng.random() < 0.6  # an inactive support tunnel is yellow and no fault by itself
    return {
        "internet": {
            "discovery_https_ok": True,
            "captive_portal_likely": False,
            "latency_ms_avg": rng.randint(12, 180),
        },
        "relay": {"reservation_count": rng.randint(1, 6), "peer_count": rng.randint(8, 90)},
        "time": {"synced": True},
        "power": {"uptime_s": rng.randint(20_000, 900_000), "undervoltage_events_24h": 0},
        "storage": {"ext4_errors": 0, "dmesg_io_errors_1h": 0},
        "containers": {"running_count": rng.choice([6, 7, 7]), "oom_count": 0},
        "wireguard": {
            "active": tunnel,
            "last_handshake_age_sec": rng.randint(3, 170) if tunnel else -1,
        },
        "heartbeat": {"http_status": 200},
    }


def _internet(rng: Random) -> Json:
    return {
        "dns_ok": True,
        "https_google_ok": True,
        "https_discovery_ok": True,
        "latency_ms_avg": rng.randint(12, 180),
        "captive_portal_likely": False,
        "checked_at": INSTANT,
    }


def _time(rng: Random) -> Json:
    service = rng.choice(["chronyd", "systemd-timesyncd"])
    return {"synced": True, "offset_ms": rng.randint(-40, 40), "service": service}


def _power(rng: Random) -> Json:
    return {
        "undervoltage_events_24h": 0,
        "recent_reboots": rng.randint(0, 1),
        "max_temp_c": rng.randint(41, 68),
        "soc_voltage_ratio": round(rng.uniform(0.96, 1.0), 2),
        "uptime_s": rng.randint(20_000, 900_000),
    }


def _storage(rng: Random) -> Json:
    used = rng.randint(10, 600) * 10**9
    room = {"size_bytes": 10**12, "used_bytes": used, "avail_bytes": 10**12 - used}
    return {
        "df": {"/uniondrive": room},
        "ext4_errors_count": 0,
        "dmesg_io_errors_1h": 0,
        "smartctl_health": rng.choice(["PASSED", "unknown"]),
    }


def _containers(rng: Random) -> Json:
    return {
        "containers": [
            {
                "name": name,
                "state": "running",
                "oom_killed": False,
                "restart_count": rng.choice([0, 0, 0, 1]),
                "image": image,
            }
            for name, image in WATCHED.items()
        ]
    }


def _wireguard(rng: Random) -> Json:
    return {
        "installed": True,
        "registered": True,
        "active": True,
        "last_handshake_age_sec": rng.randint(3, 170),
        "rx_bytes": rng.randint(10**4, 10**7),
        "tx_bytes": rng.randint(10**4, 10**7),
        "persistent_keepalive_sec": 25,
    }


def _systemd_services(_rng: Random) -> Json:
    return {"services": [{"name": unit, "active": True, "state": "active"} for unit in UNITS]}


def _uniondrive(rng: Random) -> Json:
    percent = rng.randint(3, 88)
    return {
        "mounted": True,
        "mergerfs_installed": True,
        "mount_fstype": "fuse.mergerfs",
        "use_percent": percent,
        "ext4_errors_count": 0,
        "dmesg_io_errors_1h": 0,
    }


def _identity_health(rng: Random) -> Json:
    return {
        "pool_member": True,
        "pool_member_reason": "ok",
        "online_recent": True,
        "online_recent_reason": "ok",
        "pool_id": rng.randint(1, 9),
        "chain": rng.choice(["base", "skale"]),
        "online_count": rng.randint(20, 24),
        "online_total_expected": 24,
        "online_window_s": 86_400,
    }


def _kubo_health(rng: Random) -> Json:
    return {
        "daemon_reachable": True,
        "addresses_count": rng.randint(4, 14),
        "version": "0.29.0",
        "swarm_peer_count": rng.randint(8, 90),
    }


HEALTHY: Mapping[str, Callable[[Random], Json]] = {
    "diag/internet": _internet,
    "diag/time": _time,
    "diag/power": _power,
    "diag/storage": _storage,
    "diag/containers": _containers,
    "diag/wireguard": _wireguard,
    "diag/systemd_services": _systemd_services,
    "diag/uniondrive": _uniondrive,
    "diag/identity_health": _identity_health,
    "diag/kubo_health": _kubo_health,
}
