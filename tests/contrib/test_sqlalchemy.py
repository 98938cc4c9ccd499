"""SQLAlchemy's door: the outbox as a table of the program's own MetaData."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from sqlalchemy import MetaData, create_engine
from sqlalchemy.orm import Session

from longboat import Longboat
from longboat.client.outbox_table import TABLE, OutboxTable
from longboat.contrib.sqlalchemy import outbox_table


def columns(path: Path) -> list[Any]:
    with closing(sqlite3.connect(path)) as db:
        found = db.execute('SELECT name, "notnull", pk FROM pragma_table_info(?) ORDER BY cid', (TABLE,)).fetchall()
        return [*found, *db.execute("SELECT name FROM pragma_index_list(?) ORDER BY name", (TABLE,))]


def test_the_table_is_the_one_that_longboat_makes(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/theirs.db")
    metadata = MetaData()
    outbox_table(metadata)
    metadata.create_all(engine)
    with closing(OutboxTable(lambda: sqlite3.connect(tmp_path / "ours.db"))) as table:
        table.create()
    assert [each for each in columns(tmp_path / "theirs.db") if each[0] != "place"] == [
        each for each in columns(tmp_path / "ours.db") if each[0] != "place"
    ]
    engine.dispose()


def test_an_engine_is_an_outbox(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/shop.db")
    metadata = MetaData()
    outbox_table(metadata)
    metadata.create_all(engine)
    app = Longboat("memory://", outbox=engine.raw_connection)

    @app.task(name="send")
    def send(order: int) -> int:
        return order

    with app, app.worker(), Session(engine) as session:
        handle = send.using(session=session).enqueue(3)
        session.commit()
        assert handle.result(timeout=10) == 3
    engine.dispose()
