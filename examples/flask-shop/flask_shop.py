"""A small shop: orders in a SQLite database, shipped by jobs."""

from __future__ import annotations

import sqlite3

from flask import Flask, current_app, g, redirect, render_template, request
from werkzeug.wrappers import Response

from longboat import current
from longboat.contrib.flask import Longboat

longboat = Longboat()

TABLE = "create table if not exists orders (id integer primary key, item text, state text default 'new', parcel text)"


def database() -> sqlite3.Connection:
    """This request's or job's own connection."""
    if "database" not in g:
        g.database = sqlite3.connect(current_app.config["DATABASE"])
        g.database.row_factory = sqlite3.Row
    found: sqlite3.Connection = g.database
    return found


@longboat.task(retries=3, queue="shipping")
def ship(order: int) -> str:
    item = database().execute("select item from orders where id = ?", [order]).fetchone()["item"]
    current().log(f"packing {item}")
    parcel = f"parcel {order:04d}: {item}"
    with database() as transaction:
        transaction.execute("update orders set state = 'shipped', parcel = ? where id = ?", [parcel, order])
    return parcel


def index() -> str:
    orders = database().execute("select * from orders order by id desc").fetchall()
    return render_template("index.html", orders=orders)


def order() -> Response:
    with database() as transaction:
        new = transaction.execute("insert into orders (item) values (?)", [request.form["item"]]).lastrowid
    assert new is not None
    ship.enqueue(new)  # after the commit: the job must find the row
    return redirect("/")


def create_app() -> Flask:
    app = Flask(__name__)
    app.config.from_mapping(DATABASE="shop.db", LONGBOAT_URL="sqlite:///jobs.db")
    app.config.from_prefixed_env("SHOP")
    longboat.init_app(app)
    app.add_url_rule("/", view_func=index)
    app.add_url_rule("/orders", view_func=order, methods=["POST"])

    @app.teardown_appcontext
    def close(_: BaseException | None) -> None:
        if (opened := g.pop("database", None)) is not None:
            opened.close()

    with app.app_context():
        database().execute(TABLE)
    return app
