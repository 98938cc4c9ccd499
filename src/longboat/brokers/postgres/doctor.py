"""What `longboat doctor` examines on a PostgreSQL server. It only reads."""

from __future__ import annotations

from typing import Any

from longboat.brokers.postgres.connections import Pool
from longboat.contract.optional import Report
from longboat.errors import BrokerError

OLD = 120.0
"""Seconds after which an open transaction is told: no row that was deleted since can be cleared away."""

SHOWN = 5

_OPEN = b"""
    SELECT format('process %%s of %%s%%s, %%s', pid, usename, ' (' || nullif(application_name, '') || ')', state),
           extract(epoch FROM clock_timestamp() - xact_start)::float8 AS age, format('SELECT pg_terminate_backend(%%s)', pid)
    FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
      AND coalesce(backend_xid, backend_xmin) IS NOT NULL AND clock_timestamp() - xact_start > make_interval(secs => %(old)s)
    UNION ALL
    SELECT format('prepared transaction %%s of %%s', gid, owner),
           extract(epoch FROM clock_timestamp() - prepared)::float8, format('ROLLBACK PREPARED %%L', gid)
    FROM pg_prepared_xacts
    WHERE database = current_database() AND clock_timestamp() - prepared > make_interval(secs => %(old)s)
    ORDER BY age DESC LIMIT %(shown)s"""

_SEES = b"""
    SELECT current_setting('server_version'),
           pg_has_role('pg_read_all_stats', 'USAGE') OR (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)"""


def look(pool: Pool) -> Report:
    """A server that gives no answer is a finding as well."""
    report = Report()
    try:
        pool.bare(lambda conn: _look(report, conn))
    except BrokerError as error:
        report.alarm(str(error), "Start it, or check host, port, database, user and password in the URL.")
    return report


def _look(report: Report, conn: Any) -> None:
    version, sees_all = conn.query(_SEES, {}).fetchone()
    report.facts["server"] = f"PostgreSQL {version}"
    opened = conn.query(_OPEN, {"old": OLD, "shown": SHOWN}).fetchall()
    report.facts["transactions"] = f"{len(opened) or 'none'} open for longer than {OLD:.0f} s" + (
        "" if sees_all else ", as far as this role sees (GRANT pg_read_all_stats shows it those of others)"
    )
    for whose, age, end in opened:
        report.warn(
            f"a transaction is open for {age / 60:,.0f} minutes: {whose}. Meanwhile no row that was deleted can be cleared "
            "away: the tables grow, and each job takes longer",
            f"End it: {end}. Let idle_in_transaction_session_timeout end such transactions.",
        )
