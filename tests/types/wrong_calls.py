"""Read by the type checkers only. Each line that ends in `# refused` must be an error, and no other may be one."""

from __future__ import annotations

from typing import Annotated, Any, assert_type

from longboat import Depends, Flow, Handle, Limit, Longboat, Signature, as_completed, chord, gather, group

app = Longboat("memory://")


@app.task
async def fetch(url: str, times: int = 1) -> int:
    return len(url) * times


@app.task(retries=3, timeout="30s", executor="process")
def parse(data: bytes, *, strict: bool = False) -> list[str]:
    return [str(data), str(strict)]


async def calls() -> None:
    assert_type(fetch.enqueue("x"), Handle[int])
    assert_type(fetch.enqueue("x", times=2).result(timeout="5s"), int)
    assert_type(await fetch.aenqueue("x"), Handle[int])
    assert_type(await fetch.enqueue("x"), int)
    assert_type(await fetch("x"), int)
    assert_type(parse(b"x"), list[str])
    assert_type(parse.using(delay="1m", priority=5).enqueue(b"x", strict=True), Handle[list[str]])
    assert_type(gather(fetch.enqueue("x"), fetch.enqueue("y")).result(), list[int])
    assert_type([handle.result() for handle in as_completed([parse.enqueue(b"x")])], list[list[str]])
    assert_type(fetch.enqueue_many([("x",)]), list[Handle[int]])
    assert_type(fetch.enqueue_many([("x", 2)] * 3), list[Handle[int]])
    assert_type(await fetch.aenqueue_many(("x", n) for n in range(3)), list[Handle[int]])
    assert_type(parse.enqueue_many([{"data": b"x", "strict": True}]), list[Handle[list[str]]])
    assert_type(list(fetch.map(["x", "y"])), list[int])
    assert_type(fetch.job("id"), Handle[int])
    assert_type(fetch.using(retries=3, timeout="5s").enqueue("x"), Handle[int])
    fetch.enqueue_many([(1,)])  # refused
    fetch.enqueue_many([("x", "y")])  # refused
    fetch.enqueue_many([("x", 1, 2)])  # refused
    fetch.map([1])  # refused
    fetch.delay("x")  # refused
    fetch.enqueue(1)  # refused
    fetch.enqueue()  # refused
    fetch.enqueue("x", "y")  # refused
    fetch.enqueue("x", time=2)  # refused
    await fetch.aenqueue(b"x")  # refused
    parse.enqueue(b"x", True)  # refused
    parse("x")  # refused
    parse.using(delai="1m")  # refused
    parse.using(priority="high")  # refused
    text: str = fetch.enqueue("x").result()  # refused
    number: int = fetch("x")  # refused
    print(text, number)


@app.task(limit=Limit(running=3), fair_by="{data}")
async def save(lines: list[str], *, table: str = "t") -> bool:
    return bool(lines) and bool(table)


@app.task
def total(numbers: list[int]) -> float:
    return float(sum(numbers))


async def flows() -> None:
    assert_type(fetch.s("x"), Signature[int])
    assert_type(parse.s(b"x").then(save), Signature[bool])
    assert_type(parse.s(b"x").then(save, table="t").enqueue(), Flow[bool])
    assert_type(await parse.s(b"x").then(save, table="t").enqueue(), bool)
    assert_type(group(fetch.s("x"), fetch.s("y")), Signature[list[int]])
    assert_type(group(fetch.s("x"), fetch.s("y")).then(total).enqueue().result(5), float)
    assert_type(chord([fetch.s("x"), fetch.s("y")], total), Signature[float])
    assert_type(total.s([fetch.s("x").value, fetch.s("y").value]), Signature[float])
    fetch.s(1)  # refused
    fetch.s("x").then(parse)  # refused
    parse.s(b"x").then(save, tabel="t")  # refused
    parse.s(b"x").then(save, table=1)  # refused
    total.s([parse.s(b"x").value])  # refused
    group(parse.s(b"x")).then(total)  # refused


def pool() -> bytes:
    return b""


@app.task
def write(line: str, to: bytes = Depends(pool), also: Annotated[bytes, Depends(pool)] = Depends(pool)) -> None: ...


@app.task
def mixed(values: list[int | list[str]]) -> int:
    return len(values)


@app.task
def anything(values: list[Any]) -> int:
    return len(values)


def different() -> None:
    write.enqueue("x")
    assert_type(group(fetch.s("x"), parse.s(b"x")).then(mixed), Signature[int])
    assert_type(chord([fetch.s("x"), parse.s(b"x")], anything), Signature[int])
    write.enqueue(1)  # refused
    group(fetch.s("x"), parse.s(b"x")).then(total)  # refused


@app.task(executor="threads")  # refused
def misspelt() -> None: ...
