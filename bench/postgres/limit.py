"""The limit: the bare loop over one table, in batches with SKIP LOCKED, that one writes by hand.

It claims by UPDATE and deletes what is done. There is no lease that runs out, no retry, no result, no count, no waiting.
"""

from __future__ import annotations

import time

import psycopg

MESSAGE = b"x" * 200
PUT = 1000

_TABLE = """
    DROP TABLE IF EXISTS bare;
    CREATE TABLE bare (id bigserial PRIMARY KEY, body bytea NOT NULL, taken boolean NOT NULL DEFAULT FALSE);
    CREATE INDEX bare_ready ON bare (id) WHERE NOT taken"""
_PUT = "INSERT INTO bare (body) SELECT body FROM unnest(%b::bytea[]) AS body"
_CLAIM = """
    UPDATE bare SET taken = TRUE WHERE id = ANY (ARRAY(
        SELECT id FROM bare WHERE NOT taken ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED)) RETURNING id, body"""


def measure(url: str, number: int, batch: int) -> tuple[float, float]:
    """(jobs drained a second, jobs put a second)"""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(_TABLE)
        begun = time.perf_counter()
        for _ in range(number // PUT):
            connection.execute(_PUT, ([MESSAGE] * PUT,))
        filled = time.perf_counter()
        connection.execute("ANALYZE bare")
        cursor = connection.cursor(binary=True)
        started, count = time.perf_counter(), 0
        while rows := cursor.execute(_CLAIM, (batch,)).fetchall():
            cursor.execute("DELETE FROM bare WHERE id = ANY (%s)", ([row[0] for row in rows],))
            count += len(rows)
        ended = time.perf_counter()
    assert count == number
    return number / (ended - started), number / (filled - begun)


def measure_puts(url: str, number: int, together: int) -> float:
    """Jobs put a second, so many by each statement."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(_TABLE)
        begun = time.perf_counter()
        for _ in range(number // together):
            connection.execute(_PUT, ([MESSAGE] * together,))
        return number / (time.perf_counter() - begun)
