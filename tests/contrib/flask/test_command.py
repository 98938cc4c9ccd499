"""`flask longboat …` and `longboat …` with real processes: factory, blueprints, child processes, a prefork server."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import urllib.request
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

FILES = {
    "shop/__init__.py": """
from flask import Flask
from shop.extensions import longboat

def create_app():
    app = Flask(__name__)
    app.config.from_mapping(LONGBOAT_URL="sqlite:///jobs.db", NAME="the shop")
    longboat.init_app(app)
    from shop.mail import mail
    app.register_blueprint(mail)
    @app.teardown_appcontext
    def left(error):
        with open("left.txt", "a") as file:
            file.write(f"{type(error).__name__}\\n")
    return app
""",
    "shop/extensions.py": "from longboat.contrib.flask import Longboat\n\nlongboat = Longboat()\n",
    "shop/mail.py": """
import os
import time
from flask import Blueprint, current_app
from shop.extensions import longboat

mail = Blueprint("mail", __name__)

@longboat.task
def thread():
    return [current_app.config["NAME"], os.getpid()]

@longboat.task(executor="process")
def process(fails=False, slow=False):
    if fails:
        raise ValueError("asked to")
    while slow:
        time.sleep(0.05)
    return [current_app.config["NAME"], os.getpid()]

@longboat.task
async def coroutine():
    return [current_app.config["NAME"], os.getpid()]

@mail.route("/send")
def send():
    return thread.enqueue().id
""",
    "wsgi.py": "from shop import create_app\nfrom shop.extensions import longboat\n\napp = create_app()\n",
    "cli.py": """
from flask.cli import FlaskGroup

def make():
    from shop import create_app
    return create_app()

if __name__ == "__main__":
    FlaskGroup(create_app=make)()
""",
}

FLASK = [str(Path(sysconfig.get_path("scripts")) / "flask")]
OURS = [sys.executable, "-m", "longboat"]
TASKS = ("thread", "process", "coroutine")


class Shop:
    """A folder with the program, and commands in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name, text in FILES.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(text)

    def start(self, *command: str, **env: str) -> subprocess.Popen[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("LONGBOAT_", "FLASK_"))}
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env={**kept, "PYTHONWARNINGS": "error", "PYTHONUNBUFFERED": "1", **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *command: str, status: int = 0, **env: str) -> str:
        """What it writes; its exit status must be this."""
        with self.start(*command, **env) as process:
            out, _ = process.communicate(timeout=60)
        assert process.returncode == status, out
        return out

    def results(self, *ids: str) -> list[Any]:
        from longboat import Longboat

        with Longboat(f"sqlite:///{self.folder}/jobs.db") as app:
            return [app.job(each).result(10) for each in ids]


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def test_flask_longboat_runs_jobs_in_the_context_of_the_factorys_app(shop: Shop) -> None:
    flask = [*FLASK, "--app", "shop", "longboat"]
    script = "from shop import create_app\ncreate_app()\nfrom shop import mail\n"
    script += "print(*[getattr(mail, name).enqueue().id for name in ('thread', 'process', 'coroutine')])\n"
    script += "mail.process.enqueue(fails=True)\nmail.process.using(timeout=0.2).enqueue(slow=True)\n"
    ids = shop.run(sys.executable, "-c", script).split()[:3]
    shop.run(*flask, "worker", "--burst", "--processes", "1")
    results = shop.results(*ids)
    assert [name for name, _ in results] == ["the shop"] * 3
    assert results[0][1] == results[2][1] != results[1][1], "the task with executor='process' ran in a child"
    left = sorted((shop.folder / "left.txt").read_text().split())
    assert left == ["NoneType"] * 3 + ["Stopped", "ValueError"]
    assert shop.run(*flask, "jobs", "--", "state:dead").count("shop.mail.process") == 2, "what follows -- is passed on"


def test_the_app_is_found_in_every_way(shop: Shop) -> None:
    in_wsgi = [*FLASK, "longboat"]
    group = [sys.executable, "cli.py", "longboat"]
    ids = [shop.run(*in_wsgi, "enqueue", "shop.mail.process")]
    ids += [shop.run(*in_wsgi, "enqueue", "shop.mail.process", FLASK_APP="shop:create_app()")]
    shop.run(*group, "worker", "--burst", "--processes", "1")
    ids += [
        shop.run(*group, "enqueue", "shop.mail.process"),
        shop.run(*OURS, "enqueue", "shop.mail.process", LONGBOAT_APP="wsgi"),
    ]
    shop.run(*OURS, "worker", "--burst", "--processes", "1", LONGBOAT_APP="wsgi")
    assert [name for name, _ in shop.results(*map(str.strip, ids))] == ["the shop"] * 4


def test_what_is_missing_is_said(shop: Shop) -> None:
    (shop.folder / "wsgi.py").write_text("from flask import Flask\napp = Flask('bare')\n")
    for command, status, what in (
        ([*FLASK, "longboat", "worker"], 3, "the Flask app 'bare' has no Longboat"),
        ([*FLASK, "--app", "nowhere", "longboat", "queues"], 3, "there is no Flask app: Could not import 'nowhere'"),
        ([*OURS, "worker", "shop.extensions"], 3, "nothing has called its init_app"),
        ([*FLASK, "--app", "shop", "longboat", "jobz"], 2, "Try `flask longboat --help`."),
    ):
        out = shop.run(*command, status=status)
        assert what in out
        assert "Traceback" not in out


PREFORK = """
import os, signal, socket, sys
from werkzeug.serving import make_server
from wsgi import app
from shop.mail import thread

thread.enqueue()  # the parent has an open connection
app.register_blueprint(app.extensions["longboat"].dashboard(lambda: "viewer"), url_prefix="/jobs")
listening = socket.socket()
listening.bind(("127.0.0.1", 0))
listening.listen()
children = []
for _ in range(2):
    child = os.fork()
    if child == 0:
        make_server("127.0.0.1", 0, app, fd=listening.fileno()).serve_forever()
    children.append(child)
print("at", listening.getsockname()[1], flush=True)
sys.stdin.read()
for child in children:
    os.kill(child, signal.SIGKILL)
"""


def test_a_prefork_server_enqueues_and_shows_the_dashboard(shop: Shop) -> None:
    (shop.folder / "server.py").write_text(PREFORK)
    server = subprocess.Popen(
        [sys.executable, "server.py"], cwd=shop.folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    worker = shop.start(*FLASK, "longboat", "worker")
    try:
        assert server.stdout is not None
        at = server.stdout.readline().split()[1]
        ids = []
        for _ in range(10):
            with urllib.request.urlopen(f"http://127.0.0.1:{at}/send", timeout=30) as answer:
                ids.append(answer.read().decode())
        assert [name for name, _ in shop.results(*ids)] == ["the shop"] * 10
        with urllib.request.urlopen(f"http://127.0.0.1:{at}/jobs/jobs", timeout=30) as answer:
            assert ids[0].encode() in answer.read()
    finally:
        server.communicate(timeout=20)
        worker.terminate()
        worker.communicate(timeout=30)
