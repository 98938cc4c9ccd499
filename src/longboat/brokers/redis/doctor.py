"""What `longboat doctor` examines on a Redis server. It only reads."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from redis import exceptions
from redis.utils import HIREDIS_AVAILABLE

from longboat.brokers.redis.server import Server, Value
from longboat.contract.optional import Report
from longboat.core.clock import SYSTEM, Clock
from longboat.errors import BrokerError

OLDEST = (6, 2)
SKEW = 1.0
"""Seconds that this machine's clock may be off from the server's before the doctor mentions it."""
_MEANT = {"redis", "valkey"}


def look(server: Server, clock: Clock = SYSTEM) -> Report:
    """Look at the driver here, and at the server. A server that gives no answer is a finding as well."""
    report = Report()
    driver(report, HIREDIS_AVAILABLE)
    try:
        told = _asked(server, "INFO")
        if told is None:
            report.facts["server"] = "its INFO is forbidden: version, memory and role are not known"
        else:
            info = _fields(told)
            version(report, info)
            if not report.serious:
                role(report, info)
                memory(report, info)
                _persistence(report, server, info)
        _skew(report, server, clock)
        server.check_layout()
        _rights(report, server)
    except BrokerError as error:
        what, advice = (str(error), _advice(error)) if error.__cause__ else str(error).split(". ", 1)
        report.alarm(what, advice)
    return report


def driver(report: Report, has_hiredis: bool) -> None:
    """Whether answers are read fast."""
    if not has_hiredis:
        report.warn(
            "hiredis is not installed, or too old for this redis-py: answers of the server are read by slow code",
            "Install it: pip install -U hiredis.",
        )


def version(report: Report, info: Mapping[str, str]) -> None:
    """Which server it is, and whether it knows the commands that Longboat needs."""
    names = {field.removesuffix("_version") for field in info if field.endswith("_version")} - {"gcc"}
    others = sorted(names - {"redis"})
    name = others[0] if others else "redis"
    said = info.get("redis_version", "")
    its = info.get(f"{name}_version", "?")
    compatible = "" if name == "redis" or not said else f", as Redis {said}"
    report.facts["server"] = f"{name} {its}{compatible}, {info.get('redis_mode', 'mode unknown')}"
    number = re.match(r"(\d+)\.(\d+)", said)
    if info.get("redis_mode") == "sentinel":
        report.alarm(
            "this is a Sentinel, which keeps no jobs but knows the server that does",
            "Write redis+sentinel://host:port/master-name in the URL.",
        )
    elif number is None:
        report.alarm(f"it does not say which version of Redis it is compatible with ({its})", "Use Redis >= 6.2 or Valkey.")
    elif (int(number[1]), int(number[2])) < OLDEST:
        report.alarm(f"Redis {said} lacks commands that claims need", "Upgrade it to 6.2 or newer, or to Valkey.")
    elif name not in _MEANT:
        report.warn(
            f"it is {name}, on which Longboat was not tested",
            "Use Redis or Valkey, or run the conformance suite against it first.",
        )


def role(report: Report, info: Mapping[str, str]) -> None:
    """Whether it accepts writes."""
    if info.get("role") == "slave":
        report.facts["role"] = f"replica of {info.get('master_host')}:{info.get('master_port')}"
        report.alarm(
            f"it is a {report.facts['role']}: jobs cannot be kept here",
            "Name the master in the URL, or let Sentinels name it: redis+sentinel://host:port/master-name.",
        )
    elif "role" in info:
        report.facts["role"] = f"master, replicas: {info.get('connected_slaves', '0')}"


def memory(report: Report, info: Mapping[str, str]) -> None:
    """Whether it may delete keys when its memory is full."""
    if not info.get("maxmemory", "").isdigit():
        return
    limit, policy = int(info["maxmemory"]), info.get("maxmemory_policy", "noeviction")
    used = int(info.get("used_memory", 0))
    most = f"{limit / 1e6:,.1f} MB" if limit else "unlimited"
    report.facts["memory"] = f"{used / 1e6:,.1f} MB used, maxmemory {most}, {policy}"
    if limit and policy != "noeviction":
        lost = "jobs" if policy.startswith("allkeys") else "the tokens that keep a repeated put from making second jobs"
        report.warn(
            f"when its memory is full it deletes keys (maxmemory-policy {policy}): {lost} may be dropped",
            "Set it: CONFIG SET maxmemory-policy noeviction, and the same in its redis.conf. Puts then raise BrokerFull.",
        )
    elif limit and used >= limit:
        report.warn(
            "its memory is full: puts raise BrokerFull, workers continue",
            "Let workers drain it, delete ended jobs (`longboat purge --state succeeded`), or raise maxmemory.",
        )


def _persistence(report: Report, server: Server, info: Mapping[str, str]) -> None:
    """What survives the server's own restart."""
    said = {name: _setting(server, name) for name in ("appendonly", "appendfsync", "save")}
    if said["save"] is None or said["appendonly"] is None:
        appends = {"0": "no", "1": "yes"}.get(info.get("aof_enabled", ""), "not told")
        report.facts["persistence"] = f"appendonly {appends}; the rest is not known, since CONFIG GET is forbidden there"
        return
    appends = f", appendfsync {said['appendfsync']}" if said["appendonly"] == "yes" else ""
    report.facts["persistence"] = f"appendonly {said['appendonly']}{appends}, save {said['save'] or 'never'}"
    if said["appendonly"] != "yes" and not said["save"]:
        report.warn(
            "it writes nothing to its disk: when it restarts, all jobs are gone",
            "Set it: CONFIG SET appendonly yes, and the same in its redis.conf; appendfsync always loses nothing.",
        )


def _rights(report: Report, server: Server) -> None:
    """What this user may do, tried on a key that is not there."""
    nothing = server.key("nothing")
    needed: dict[str, tuple[Value, ...]] = {
        "EVAL": ("EVAL", "return 1", 1, nothing),
        "HDEL": ("HDEL", nothing, "x"),
        "BLPOP": ("BLPOP", nothing, "0.001"),
    }
    refused = [name for name, words in needed.items() if _asked(server, *words, nil=b"") is None]
    if "EVAL" not in refused and "HDEL" in refused:
        report.facts["rights"] = "this user may look, and change nothing"
    elif refused:
        report.alarm(
            f"this user may not use {', '.join(refused)}: workers, and callers that wait for results, need that",
            "Give it the rights of docs/security.md, such as ACL SETUSER name +@blocking.",
        )


def _skew(report: Report, server: Server, clock: Clock) -> None:
    began, mark = clock.now(), clock.monotonic()
    told = _asked(server, "TIME")
    if told is None:
        return
    took = clock.monotonic() - mark
    ahead = int(told[0]) + int(told[1]) / 1e6 - (began + took / 2)
    report.facts["server clock"] = f"{ahead:+.3f} s from this machine's"
    if abs(ahead) > SKEW + took / 2:
        which = "ahead of" if ahead > 0 else "behind"
        report.warn(
            f"the server's clock is {abs(ahead):,.1f} s {which} this machine's, and the server's decides",
            "Synchronise both with NTP. Delays are right all the same, but the times shown come from two clocks.",
        )


def _setting(server: Server, name: str) -> str | None:
    told = _asked(server, "CONFIG", "GET", name)
    return _text(told[1]) if told else None


def _asked(server: Server, *words: Value, nil: Any = None) -> Any:
    """The answer, `nil` for none; None if the server refuses this command but answers others, as managed ones do."""
    try:
        answer = server.command(*words)
        return nil if answer is None else answer
    except BrokerError as error:
        if isinstance(error.__cause__, exceptions.ResponseError):
            return None
        raise


def _advice(error: BrokerError) -> str:
    cause = error.__cause__
    if isinstance(cause, exceptions.AuthenticationError):
        return "Check user and password in the URL: redis://user:password@host:port/0, special characters as %XX."
    if isinstance(cause, exceptions.InvalidResponse):
        return (
            "What answers there does not speak as Redis does: check host and port, and whether it is rediss:// or redis://."
        )
    return "Start it, or check host, port and the network between; rediss:// is for servers with TLS only."


def _fields(told: Any) -> dict[str, str]:
    lines = _text(told).splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)


def _text(raw: Any) -> str:
    return raw.decode(errors="replace") if isinstance(raw, bytes) else str(raw)
