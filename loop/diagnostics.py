"""What a device's diagnostics can say: the 21 tools, and how `diag/summary` scores what it saw.

Canned diagnostics, generated sessions and imported records all pass through here, so that no model
is trained or judged on evidence that no device can show. The shapes are `loop.diagnostic_shapes`.

Source:
    functionland/blox-ai 6bf006a, src/tools.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from types import MappingProxyType
from typing import get_args

from pydantic import TypeAdapter

from loop.diagnostic_shapes import SHAPES, SubsystemName
from loop.errors import FactsError
from loop.values import Json, Severity
from loop.wire import Wire, check_wire

TOOLS: tuple[str, ...] = tuple(SHAPES)
"""The tools a model can call, as it writes them."""
SUBSYSTEMS: tuple[str, ...] = get_args(SubsystemName)
"""The eight lines of a summary; a device always shows all of them."""
METRICS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "internet": frozenset({"discovery_https_ok", "captive_portal_likely", "latency_ms_avg"}),
        "relay": frozenset({"reservation_count", "peer_count"}),
        "time": frozenset({"synced"}),
        "power": frozenset({"uptime_s", "undervoltage_events_24h"}),
        "storage": frozenset({"ext4_errors", "dmesg_io_errors_1h"}),
        "containers": frozenset({"running_count", "oom_count"}),
        "wireguard": frozenset({"active", "last_handshake_age_sec"}),
        "heartbeat": frozenset({"http_status"}),
    }
)
"""The key metrics a device emits; beside them only `error`, alone, when a subsystem failed."""
OFTEN_UNDERVOLTAGE = 3
"""Events in 24 h from which power is red."""
OLD_HANDSHAKE_S = 180
"""Above this age the tunnel is red; -1 means unknown."""

Metrics = Mapping[str, Json]


def check_result(tool: str, result: Json) -> None:
    """Accept what a tool can return.

    Raises:
        FactsError: No such tool, or a result of another shape; says where and what was expected.
    """
    if tool not in SHAPES:
        raise FactsError(f"tool {tool!r}: expected one of {', '.join(TOOLS)}")
    check_wire(_adapter(tool), result, where=tool)


@cache
def _adapter(tool: str) -> TypeAdapter[Wire]:
    return TypeAdapter(SHAPES[tool])


# ------------------------------------------------------------------ how a summary scores


def subsystem_status(name: str, key_metrics: Metrics) -> Severity | None:
    """The status a device gives to a subsystem with these metrics; None: they do not tell.

    Raises:
        FactsError: No such subsystem.

    >>> str(subsystem_status("wireguard", {"active": True, "last_handshake_age_sec": 181}))
    'red'
    >>> subsystem_status("time", {})
    """
    if name not in _SCORES:
        raise FactsError(f"subsystem {name!r}: expected one of {', '.join(SUBSYSTEMS)}")
    return Severity.RED if "error" in key_metrics else _SCORES[name](key_metrics)


def worst(statuses: Iterable[Severity]) -> Severity:
    """The overall severity of several; nothing at all is green.

    >>> str(worst([Severity.GREEN, Severity.YELLOW]))
    'yellow'
    """
    return max(statuses, key=list(Severity).index, default=Severity.GREEN)


def summary_problems(summary: Json) -> list[str]:
    """Why no device can have shown this summary, one sentence each; empty: one can.

    Raises:
        FactsError: It has not even the shape of a summary.
    """
    check_result("diag/summary", summary)
    lines = summary["subsystems"]
    missing = [f"{name}: expected this subsystem" for name in SUBSYSTEMS if name not in lines]
    found = [problem for name in lines for problem in _line_problems(name, lines[name])]
    return missing + found + _overall_problem(summary)


def rescored(summary: Json) -> Json:
    """The summary as a device would have scored its metrics.

    Metrics that a device never emits are left out; a status that the rest do not tell is kept.

    Raises:
        FactsError: It has not the shape of a summary.
    """
    check_result("diag/summary", summary)
    lines = {name: _rescored_line(name, line) for name, line in summary["subsystems"].items()}
    overall = worst(Severity(line["status"]) for line in lines.values())
    return {**summary, "subsystems": lines, "overall": overall.value}


def _rescored_line(name: str, line: Json) -> Json:
    emitted = METRICS[name] | {"error"}
    metrics = {key: value for key, value in line.get("key_metrics", {}).items() if key in emitted}
    status = subsystem_status(name, metrics)
    return {"status": status.value if status else line["status"], "key_metrics": metrics}


def _line_problems(name: str, line: Json) -> list[str]:
    metrics = line.get("key_metrics", {})
    return _metric_problems(name, metrics) + _status_problem(name, line["status"], metrics)


def _metric_problems(name: str, metrics: Metrics) -> list[str]:
    if "error" in metrics:
        extra = sorted(set(metrics) - {"error"})
        return [f"{name}: expected error alone, got {', '.join(extra)} beside it"] if extra else []
    return [
        f"{name}.{key}: expected only {', '.join(sorted(METRICS[name]))}"
        for key in sorted(set(metrics) - METRICS[name])
    ]


def _status_problem(name: str, status: str, metrics: Metrics) -> list[str]:
    scored = subsystem_status(name, metrics)
    if scored is None:
        needed = ", ".join(sorted(METRICS[name]))
        return [f"{name}: expected metrics that tell its status ({needed}), got too few"]
    return [] if scored == status else [f"{name}: expected {scored} for its metrics, got {status}"]


def _overall_problem(summary: Json) -> list[str]:
    expected = worst(Severity(line["status"]) for line in summary["subsystems"].values())
    got = summary["overall"]
    return [] if expected == got else [f"overall: expected the worst, {expected}, got {got}"]


def _number(metrics: Metrics, key: str) -> float | None:
    value = metrics.get(key)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _internet(metrics: Metrics) -> Severity | None:
    """Names must resolve too, but a device that reached discovery by name has shown that."""
    reached = metrics.get("discovery_https_ok")
    if not isinstance(reached, bool):
        return None
    return Severity.GREEN if reached else Severity.RED


def _relay(metrics: Metrics) -> Severity | None:
    count = _number(metrics, "reservation_count")
    if count is None:
        return None
    return Severity.GREEN if count > 0 else Severity.YELLOW


def _time(metrics: Metrics) -> Severity | None:
    synced = metrics.get("synced")
    if not isinstance(synced, bool):
        return None
    return Severity.GREEN if synced else Severity.RED


def _power(metrics: Metrics) -> Severity | None:
    events = _number(metrics, "undervoltage_events_24h")
    if events is None:
        return None
    if events >= OFTEN_UNDERVOLTAGE:
        return Severity.RED
    return Severity.YELLOW if events > 0 else Severity.GREEN


def _storage(metrics: Metrics) -> Severity | None:
    errors = [_number(metrics, key) for key in ("ext4_errors", "dmesg_io_errors_1h")]
    if any(count is not None and count > 0 for count in errors):
        return Severity.RED
    return None if None in errors else Severity.GREEN


def _containers(metrics: Metrics) -> Severity | None:
    running, killed = (_number(metrics, key) for key in ("running_count", "oom_count"))
    if killed is not None and killed > 0:
        return Severity.RED
    if running is None or killed is None:
        return None
    return Severity.GREEN if running > 0 else Severity.YELLOW


def _wireguard(metrics: Metrics) -> Severity | None:
    """Inactive comes first: a tunnel that is off has no handshake to be late with."""
    active, age = metrics.get("active"), _number(metrics, "last_handshake_age_sec")
    if not isinstance(active, bool):
        return None
    if not active:
        return Severity.YELLOW
    return Severity.RED if age is not None and age > OLD_HANDSHAKE_S else Severity.GREEN


def _heartbeat(metrics: Metrics) -> Severity | None:
    status = _number(metrics, "http_status")
    if status is None:
        return None
    return Severity.GREEN if 200 <= status < 300 else Severity.YELLOW


_SCORES: Mapping[str, Callable[[Metrics], Severity | None]] = MappingProxyType(
    {
        "internet": _internet,
        "relay": _relay,
        "time": _time,
        "power": _power,
        "storage": _storage,
        "containers": _containers,
        "wireguard": _wireguard,
        "heartbeat": _heartbeat,
    }
)
