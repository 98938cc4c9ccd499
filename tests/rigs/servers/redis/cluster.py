"""A Redis Cluster of three masters without replicas, whose slots tests move from node to node."""

from __future__ import annotations

import binascii
import itertools
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.rigs.servers.process import HOST, until
from tests.rigs.servers.redis.server import RedisServer

NODES = 3
SLOTS = 16384
NODE_TIMEOUT = 2000
"""Milliseconds of silence after which a node is taken for gone."""
KEYS_AT_ONCE = 100
MIGRATE_TIMEOUT = 5000
PATIENCE = 30.0


def slot_of(key: str) -> int:
    """The slot of a key: of its hash tag, what stands in the first {…}, if it has one."""
    _, opened, rest = key.partition("{")
    tag, closed, _ = rest.partition("}")
    hashed = tag if opened and closed and tag else key
    return binascii.crc_hqx(hashed.encode(), 0) % SLOTS


class RedisCluster:
    """The nodes, each with a third of the slots."""

    def __init__(self, folder: Path) -> None:
        self.nodes: list[RedisServer] = [_Node(folder / f"node-{n}") for n in range(NODES)]
        self._formed = False

    @property
    def url(self) -> str:
        return f"redis+cluster://{','.join(f'{HOST}:{each.port}' for each in self.nodes)}"

    def start(self) -> Self:
        """Returns when every node finds the cluster in order."""
        try:
            for node in self.nodes:
                node.start()
            if not self._formed:
                self._form()
                self._formed = True
            until(lambda: all(map(_is_in_order, self.nodes)), "every node finds the cluster in order", PATIENCE)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        for node in self.nodes:
            node.stop()

    def slot_of(self, key: str) -> int:
        """The slot of a key."""
        return slot_of(key)

    def owner_of(self, slot: int) -> RedisServer:
        """The node that has the slot, as the first node that runs knows it."""
        asked = next(node for node in self.nodes if node.running)
        for first, last, (_, port, *_), *_ in asked.command("CLUSTER", "SLOTS"):
            if first <= slot <= last:
                return next(node for node in self.nodes if node.port == port)
        raise LookupError(f"no node has slot {slot}")

    def move_slot(self, slot: int, to_node: RedisServer) -> None:
        """Move a slot and its keys as `redis-cli --cluster reshard` does, while clients go on; then all nodes know it."""
        source = self.owner_of(slot)
        if source is to_node:
            return
        new = to_node.command("CLUSTER", "MYID")
        to_node.command("CLUSTER", "SETSLOT", slot, "IMPORTING", source.command("CLUSTER", "MYID"))
        source.command("CLUSTER", "SETSLOT", slot, "MIGRATING", new)
        while keys := source.command("CLUSTER", "GETKEYSINSLOT", slot, KEYS_AT_ONCE):
            source.command("MIGRATE", HOST, to_node.port, "", 0, MIGRATE_TIMEOUT, "KEYS", *keys)
        # The new owner first: if the old one forgot the slot before, for a moment nobody would have it.
        for node in (to_node, source, *(each for each in self.nodes if each not in (to_node, source))):
            node.command("CLUSTER", "SETSLOT", slot, "NODE", new)

    def _form(self) -> None:
        bounds = [SLOTS * n // NODES for n in range(NODES + 1)]
        for n, node in enumerate(self.nodes):
            node.command("CLUSTER", "SET-CONFIG-EPOCH", n + 1)
            node.command("CLUSTER", "ADDSLOTSRANGE", bounds[n], bounds[n + 1] - 1)
        for node, other in itertools.permutations(self.nodes, 2):  # sooner than by gossip
            node.command("CLUSTER", "MEET", HOST, other.port, other.ports[1])

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()


class _Node(RedisServer):
    """Its second port is the cluster's bus."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, ports=2)

    def _lines(self) -> list[str]:
        return [
            *super()._lines(),
            "cluster-enabled yes",
            f"cluster-port {self.ports[1]}",
            f"cluster-node-timeout {NODE_TIMEOUT}",
            f"cluster-announce-ip {HOST}",  # the node that meets the others would not learn its own address
        ]


def _is_in_order(node: RedisServer) -> bool:
    said = node.command("CLUSTER", "INFO").splitlines()
    return {"cluster_state:ok", f"cluster_slots_ok:{SLOTS}", f"cluster_known_nodes:{NODES}"} <= set(said)
