"""What `longboat doctor` examines on a RabbitMQ server. It only looks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from longboat.brokers.rabbitmq.management import Governed, Management
from longboat.brokers.rabbitmq.names import Names
from longboat.brokers.rabbitmq.receiver import WORN
from longboat.brokers.rabbitmq.session import Session
from longboat.contract.optional import Report
from longboat.errors import BrokerError

SHOWN = 3
"""Queues named in a finding."""

_ASK = "Name the management plugin, ?management=http://host:15672: it tells of policies that drop messages."
_DROPS = ("message-ttl", "max-length", "max-length-bytes", "expires")
"""Settings of a policy by which jobs are lost."""


def look(session: Session, management: Management | None) -> Report:
    """Only looks. A server that gives no answer is a finding as well."""
    report = Report()
    report.priorities = (session.names.levels[-1], session.names.levels[0])
    try:
        link = session.link("longboat-rabbitmq-doctor")
        report.facts["server"] = link.server
        link.close()
    except BrokerError as error:
        report.alarm(str(error), "Start it, or check host, port, user, password and virtual host in the URL.")
        return report
    governed = None if management is None else management.governed(session.names)
    if governed is None:
        report.facts["policies"] = f"not known. {_ASK}" if management is None else "not known"
        if management is not None:
            advice = "Check `management=` in the URL; the broker's user needs the tag `monitoring` or `management`."
            report.warn("the management plugin does not answer, or does not let this user in", advice)
    else:
        policies(report, session.names, governed)
    return report


def policies(report: Report, names: Names, queues: Sequence[Governed]) -> None:
    """Whether a policy drops messages of our queues."""
    found: dict[tuple[str, str], list[str]] = {}
    for each in queues:
        said = dict(each.effective_policy_definition)
        for setting, what in _lossy(said).items():
            by = " and ".join(name for name in (each.policy, each.operator_policy) if name)
            found.setdefault((by, f"{setting} {said[setting]}: {what}"), []).append(each.name)
    report.facts["policies"] = f"of {len(queues)} queues with the prefix {names.prefix} looked at"
    for (by, what), at in found.items():
        more = f" and {len(at) - SHOWN} more" if len(at) > SHOWN else ""
        report.alarm(
            f"the server's policy {by} loses jobs of {', '.join(at[:SHOWN])}{more} by {what}",
            f"Take Longboat's queues out of it (their names begin with {names.prefix}.), or give them a policy of their own "
            "with a higher priority.",
        )


def _lossy(policy: Mapping[str, Any]) -> dict[str, str]:
    """The settings that lose jobs, and how."""
    lossy = {name: "jobs that wait are dropped" for name in _DROPS if name in policy}
    if policy.get("overflow") in ("reject-publish", "reject-publish-dlx"):  # a put raises BrokerFull then
        lossy = {name: how for name, how in lossy.items() if not name.startswith("max-length")}
    if 0 <= policy.get("delivery-limit", -1) <= WORN:
        lossy["delivery-limit"] = f"jobs that workers hand back are dropped (it must be above {WORN})"
    return lossy
