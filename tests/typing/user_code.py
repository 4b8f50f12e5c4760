"""What a user writes, for type checkers only: they must refuse the lines that end in `# wrong`, and no others."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from typing import assert_type

from flowstone import State, allow_failure, flow, quote, task, unmapped
from flowstone.cache_policies import INPUTS
from flowstone.futures import FlowstoneFuture, FlowstoneFutureList


@task
def add(a: int, b: int = 1) -> int:
    return a + b


@task(cache_policy=INPUTS, retries=2, retry_delay_seconds=[1, 2.5])
def label(number: int, *, prefix: str) -> str:
    return f"{prefix}{number}"


@task
async def fetch(url: str) -> bytes:
    return url.encode()


@task
def count(n: int) -> Iterator[int]:
    yield from range(n)


@task
def talk(n: int) -> Generator[int, str, bool]:
    yield n
    return True


@task
async def stream(n: int) -> AsyncIterator[str]:
    yield str(n)


@task
async def astream(n: int) -> AsyncGenerator[float, None]:
    yield float(n)


def calls_keep_the_signature() -> None:
    assert_type(add(1), int)
    assert_type(add(1, b=2), int)
    assert_type(label(1, prefix="x"), str)
    assert_type(count(3), Iterator[int])
    assert_type(talk(3), Generator[int, str, bool])
    assert_type(stream(3), AsyncIterator[str])
    add("1")  # wrong
    add(1, c=2)  # wrong
    add()  # wrong
    label(1, "x")  # wrong


async def async_calls_are_awaited() -> None:
    assert_type(await fetch("x"), bytes)
    assert_type(await fetch("x", return_state=True), State[bytes])
    await fetch(1)  # wrong
    fetch("x").decode()  # wrong


def states() -> None:
    assert_type(add(1, return_state=True), State[int])
    assert_type(add(1, return_state=True).result(), int)
    assert_type(add(1, return_state=False), int)
    assert_type(add(1, wait_for=[add.submit(2)]), int)
    assert_type(label(1, prefix="x", wait_for=[], return_state=True), State[str])


def submits_keep_the_signature() -> None:
    assert_type(add.submit(1), FlowstoneFuture[int])
    assert_type(add.submit(1, b=2).result(), int)
    assert_type(add.submit(1).state, State[int])
    assert_type(fetch.submit("x"), FlowstoneFuture[bytes])
    assert_type(count.submit(3).result(), list[int])
    assert_type(talk.submit(3).result(), list[int])
    assert_type(stream.submit(3).result(), list[str])
    assert_type(astream.submit(3).result(), list[float])
    assert_type(add.submit(1, wait_for=[add.submit(2)]), FlowstoneFuture[int])
    assert_type(fetch.submit("x", wait_for=None), FlowstoneFuture[bytes])
    add.submit("1")  # wrong
    add.submit(1, c=2)  # wrong
    fetch.submit()  # wrong


def futures_stand_for_their_results() -> None:
    first = add.submit(1)
    assert_type(add.submit(first, b=add.submit(a=first)), FlowstoneFuture[int])
    assert_type(add(first), int)
    assert_type(add.submit(allow_failure(first), quote(1)), FlowstoneFuture[int])


def maps() -> None:
    assert_type(add.map([1, 2], unmapped(3)), FlowstoneFutureList[int])
    assert_type(add.map([1, 2]).result(), list[int])
    assert_type(fetch.map(["a", "b"])[0], FlowstoneFuture[bytes])
    assert_type(count.map([1, 2]).result(), list[list[int]])
    add.map([1])[0].result().upper()  # wrong


async def futures_are_awaited() -> None:
    assert_type(await add.submit(1), int)
    assert_type(await fetch.map(["a"]), list[bytes])


def changed_options_keep_the_signature() -> None:
    changed = add.with_options(retries=3, cache_policy=None, tags=["a"])
    assert_type(changed(1), int)
    assert_type(fetch.with_options(name="f").submit("x"), FlowstoneFuture[bytes])
    changed("1")  # wrong
    add.with_options(retrys=3)  # wrong
    add.with_options(retries="3")  # wrong


@task(retrys=1)  # wrong
def misspelt() -> None: ...


class Model:
    @task
    def score(self, x: int) -> float:
        return float(x)

    @task(retries=1)
    async def load(self, name: str) -> Model:
        return self


async def methods(model: Model) -> None:
    assert_type(model.score(1), float)
    assert_type(model.score.submit(x=1).result(), float)
    assert_type(model.score.with_options(retries=1)(1), float)
    assert_type(await model.load("x"), Model)
    assert_type(Model.score(model, 1), float)
    model.score("1")  # wrong
    Model.score(model, "1")  # wrong


@flow
def report(year: int) -> list[int]:
    return add.map([year]).result()


@flow(retries=1, name="nightly")
async def nightly(year: int) -> str:
    return str(year)


async def flows() -> None:
    assert_type(report(2026), list[int])
    assert_type(report(2026, return_state=True), State[list[int]])
    assert_type(await nightly(1), str)
    assert_type(await nightly(1, return_state=True), State[str])
    assert_type(report.with_options(name="x")(1), list[int])
    report("2026")  # wrong
    report.with_options(nme="x")  # wrong


@task
def untyped(x):  # type: ignore[no-untyped-def]
    return x


def untyped_functions_are_left_alone() -> None:
    untyped(1).anything
    untyped.submit(1).result().anything
