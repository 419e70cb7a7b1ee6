"""What a labeller sees of one tool's answer at a glance: its values in rows, the abnormal marked.

"Abnormal" points the eye; it decides nothing. Limits are those of the device's trees, runbook and
summary scorer (functionland/blox-ai 6bf006a, fula-ota ea5209f), the strictest where they differ.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from loop.values import Json

MOST_ROWS = 400
"""Of one answer on the page; the rest is counted."""

Path = tuple[str, ...]
Test = Callable[[Json], bool]


@dataclass(frozen=True)
class Row:
    """One value somewhere inside an answer."""

    path: str
    text: str
    abnormal: bool
    known: bool = True
    """False: null, which on a device means that it could not find out."""


@dataclass(frozen=True)
class Evidence:
    """One answer in rows; `hidden` more did not fit."""

    rows: tuple[Row, ...]
    abnormal: tuple[Row, ...]
    hidden: int = 0


def read_evidence(tool: str, result: Json) -> Evidence:
    """The rows of one answer; the abnormal ones are complete, however long it is."""
    rows = [_row(tool.removeprefix("diag/"), path, value) for path, value in _leaves(result, ())]
    return Evidence(
        rows=tuple(rows[:MOST_ROWS]),
        abnormal=tuple(row for row in rows if row.abnormal),
        hidden=max(0, len(rows) - MOST_ROWS),
    )


def _leaves(value: Json, path: Path) -> Iterator[tuple[Path, Json]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(inner, (*path, key))
    elif isinstance(value, list) and value:
        for number, inner in enumerate(value):
            yield from _leaves(inner, (*path, f"[{_name_of(inner) or number}]"))
    else:
        yield path, value


def _name_of(item: Json) -> str | None:
    """What an item of a list calls itself."""
    if not isinstance(item, dict):
        return None
    named = (item.get(key) for key in ("name", "container", "dns_name"))
    return next((name for name in named if isinstance(name, str) and name), None)


def _row(tool: str, path: Path, value: Json) -> Row:
    return Row(
        path=_path_text(path),
        text=_text(value),
        abnormal=_abnormal(tool, path, value),
        known=value is not None,
    )


def _path_text(path: Path) -> str:
    """The way to a value; an item of a list that has a name is known by it alone."""
    shown: list[str] = []
    for step in path:
        if re.fullmatch(r"\[\d+\]", step) and shown:
            shown[-1] += step
        elif step.startswith("["):
            shown[-1:] = [step[1:-1]]
        elif step not in ("subsystems", "key_metrics"):
            shown.append(step)
    return ".".join(shown) or "answer"


def _text(value: Json) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "true" if value else "false"
    if value in ({}, []):
        return "none"
    return str(value)


def _abnormal(tool: str, path: Path, value: Json) -> bool:
    if tool == "summary" and path[:1] == ("subsystems",) and len(path) > 2:
        tool = path[1]
    named = [step for step in path if not step.startswith("[")]
    leaf = named[-1] if named else ""
    test = ABNORMAL.get(tool, {}).get(leaf) or EVERYWHERE.get(leaf)
    return test is not None and test(value)


def _false(value: Json) -> bool:
    return value is False


def _true(value: Json) -> bool:
    return value is True


def _not_true(value: Json) -> bool:
    return value is not True


def _some(value: Json) -> bool:
    return bool(value)


def _none(value: Json) -> bool:
    return isinstance(value, list) and not value


def _not(*fine: str) -> Test:
    return lambda value: value not in fine


def _is(*bad: str) -> Test:
    return lambda value: value in bad


def _outside(low: float, high: float) -> Test:
    """A number below `low` or above `high`; what is no number is not judged."""

    def test(value: Json) -> bool:
        return type(value) in (int, float) and not low <= float(value) <= high

    return test


def _above(limit: float) -> Test:
    return _outside(-math.inf, limit)


def _below(limit: float) -> Test:
    return _outside(limit, math.inf)


_ALARM = re.compile(r"error|fail|oom|killed|corrupt|panic|undervolt|time.?out|refused", re.I)


def _alarming(value: Json) -> bool:
    return isinstance(value, str) and _ALARM.search(value) is not None


EVERYWHERE: Mapping[str, Test] = {
    "error": _some,
    "overall": _is("yellow", "red"),
    "status": _is("yellow", "red"),
}
_DISK: Mapping[str, Test] = {"ext4_errors_count": _above(0), "dmesg_io_errors_1h": _above(0)}

ABNORMAL: Mapping[str, Mapping[str, Test]] = {
    "internet": {
        "dns_ok": _false,
        "https_google_ok": _false,
        "https_discovery_ok": _false,
        "discovery_https_ok": _false,
        "captive_portal_likely": _true,
    },
    "relay": {
        "reservation_count": _below(1),
        "peer_count": _below(5),
        "has_circuit_reservation": _false,
        "swarm_connect_ok": _false,
        "relays": _none,
    },
    "time": {"synced": _false, "offset_ms": _outside(-30_000, 30_000), "service": _is("none")},
    "power": {
        "undervoltage_events_24h": _above(0),
        "recent_reboots": _above(2),
        "max_temp_c": _above(80),
        "soc_voltage_ratio": _below(0.9),
    },
    "storage": {**_DISK, "ext4_errors": _above(0), "smartctl_health": _is("FAILED")},
    "containers": {
        "containers": _none,
        "state": _not("running"),
        "oom_killed": _true,
        "restart_count": _above(3),
        "running_count": _below(1),
        "oom_count": _above(0),
    },
    "wireguard": {
        "installed": _false,
        "registered": _false,
        "active": _false,
        "last_handshake_age_sec": _above(180),
    },
    "heartbeat": {"http_status": _outside(200, 299)},
    "events": {"category": _alarming, "detail": _alarming},
    "readiness": {"last_failure_ts": _some},
    "discovery_state": {"ok": _false},
    "systemd_services": {"active": _not_true, "state": _not("active")},
    "network_interface": {"operstate": _is("down"), "wifi_associated": _false},
    "uniondrive": {
        **_DISK,
        "mounted": _false,
        "mergerfs_installed": _false,
        "use_percent": _above(94),
        "mount_options": lambda value: "ro" in str(value).split(","),
    },
    "identity_health": {
        "pool_member": _not_true,
        "online_recent": _not_true,
        "pool_member_reason": _not("ok"),
        "online_recent_reason": _not("ok"),
    },
    "kubo_health": {"daemon_reachable": _false, "swarm_peer_count": _below(5)},
    "fula_go_health": {"container_running": _false, "restart_count": _above(3)},
    "image_versions": {"match": _false, "mismatched_containers": _some},
    "ble_state": {"present": _false},
}
"""By tool (a subsystem of the summary counts as its tool), then by the last name of the path."""
