"""For SQLAlchemy: the outbox as a table of your MetaData, so that Alembic makes it with the others."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Double, Index, Integer, LargeBinary, MetaData, String, Table
from sqlalchemy.dialects import mysql

from longboat.client.outbox_table import TABLE


def outbox_table(metadata: MetaData) -> Table:
    """The table `longboat_outbox`, added to `metadata`, for `metadata.create_all` or Alembic's autogenerate.

    It is what `Longboat(url, outbox=…)` and `using(session=…)` need in your database. Longboat fills and empties it.
    """
    blob = LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb")
    return Table(
        TABLE,
        metadata,
        Column("place", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True, autoincrement=True),
        Column("id", String(255), nullable=False),
        Column("message", blob, nullable=False),
        Column("extra", blob),
        Column("at", Double(), nullable=False),
        Column("until", Double()),
        Column("batch", String(100)),
        Column("taken", Double()),
        Column("refused", String(1000)),
        Index(f"{TABLE}_id", "id"),
        Index(f"{TABLE}_batch", "batch", "place"),
        sqlite_autoincrement=True,
    )
