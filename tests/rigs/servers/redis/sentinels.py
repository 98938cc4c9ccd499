"""A Redis master with one replica, guarded by three Sentinels that promote the replica when the master is gone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.rigs.servers.process import HOST, ServerProcess, until
from tests.rigs.servers.redis.resp import RedisError, command
from tests.rigs.servers.redis.server import PROGRAM, RedisServer

SERVICE = "mymaster"
SENTINELS = 3
QUORUM = 2
DOWN_AFTER = 1000
"""Milliseconds of silence after which a Sentinel takes the master for gone."""
FAILOVER_TIMEOUT = 3000
"""Milliseconds after which a failover that got stuck is tried again."""
PATIENCE = 30.0


class RedisSentinels:
    """The five servers. `master` and `replica` are named for how they start: a failover swaps what they do."""

    def __init__(self, folder: Path) -> None:
        self.master = RedisServer(folder / "master")
        self.replica = _Replica(folder / "replica", self.master)
        self.sentinels = [Sentinel(folder / f"sentinel-{n}", self.master) for n in range(SENTINELS)]

    @property
    def url(self) -> str:
        return f"redis+sentinel://{','.join(f'{HOST}:{each.port}' for each in self.sentinels)}/{SERVICE}/0"

    @property
    def servers(self) -> list[ServerProcess]:
        return [self.master, self.replica, *self.sentinels]

    def start(self) -> Self:
        """Returns when all Sentinels know the replica and each other, so that a failover can begin at any time."""
        try:
            self.master.start()
            self.replica.start()
            # A Sentinel asks the master for its replicas when it starts, and then every 10 s only.
            until(self._replicates, "the replica is in step", PATIENCE)
            for sentinel in self.sentinels:
                sentinel.start()
            until(lambda: all(sentinel.is_ready() for sentinel in self.sentinels), "the Sentinels agree", PATIENCE)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop them all, the Sentinels first, so that they do not see the master go."""
        for server in reversed(self.servers):
            server.stop()

    def masters(self) -> set[int]:
        """The ports of the master as the running Sentinels name it: more than one while they differ."""
        return {sentinel.master_port() for sentinel in self.sentinels if sentinel.running}

    def _replicates(self) -> bool:
        said = self.master.info("replication")
        return f"port={self.replica.port},state=online" in said.get("slave0", "")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()


class _Replica(RedisServer):
    def __init__(self, folder: Path, master: RedisServer) -> None:
        super().__init__(folder)
        self._master = master

    def _lines(self) -> list[str]:
        # Written at the start and no sooner: the master may have had to change its port.
        return [*super()._lines(), f"replicaof {HOST} {self._master.port}"]


class Sentinel(ServerProcess):
    """One Sentinel. What it learns is in its sentinel.conf, so it still knows it after a restart."""

    name = "sentinel"

    def __init__(self, folder: Path, master: RedisServer) -> None:
        super().__init__(folder)
        self._master = master

    def command_line(self) -> Sequence[str]:
        return [PROGRAM, "sentinel.conf", "--sentinel"]

    def answers(self) -> bool:
        return f"process_id:{self.pid}\r\n" in command(self.port, "INFO", "server")

    def prepare(self) -> None:
        lines = [
            f"bind {HOST}",
            f"port {self.port}",
            f"sentinel monitor {SERVICE} {HOST} {self._master.port} {QUORUM}",
            f"sentinel down-after-milliseconds {SERVICE} {DOWN_AFTER}",
            f"sentinel failover-timeout {SERVICE} {FAILOVER_TIMEOUT}",
        ]
        (self.folder / "sentinel.conf").write_text("\n".join(lines) + "\n")

    def is_ready(self) -> bool:
        """Whether it knows the others and a replica in step, and nobody is taken for gone."""
        try:
            master = _fields(command(self.port, "SENTINEL", "MASTER", SERVICE))
            replicas = [_fields(each) for each in command(self.port, "SENTINEL", "REPLICAS", SERVICE)]
            others = [_fields(each) for each in command(self.port, "SENTINEL", "SENTINELS", SERVICE)]
        except RedisError:
            return False
        return (
            master["flags"] == "master"
            and [(each["flags"], each["master-link-status"]) for each in replicas] == [("slave", "ok")]
            and [each["flags"] for each in others] == ["sentinel"] * (SENTINELS - 1)
        )

    def master_port(self) -> int:
        """Where it says that the master is."""
        return int(command(self.port, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)[1])


def _fields(flat: list[Any]) -> dict[str, str]:
    return dict(zip(flat[::2], flat[1::2], strict=True))
