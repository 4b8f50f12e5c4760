"""Locks between machines, by leases on a Redis server."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn

from flowstone.exceptions import ConfigurationError, LockError
from flowstone.locking import redis_scripts
from flowstone.locking.entries import Backing
from flowstone.locking.forks import after_fork
from flowstone.locking.holders import holder_path, lineage
from flowstone.locking.keeper import Keeper
from flowstone.locking.outside import Outside, growing_pause
from flowstone.locking.space import LockSpace
from flowstone.locking.spaced import SpaceLockManager, shared_space

if TYPE_CHECKING:
    from redis import Redis
    from redis.commands.core import Script

_PREFIX: Final = "{flowstone}"
"""Begins every key in Redis; in a cluster the braces keep a lock and the counter of tokens on one node."""

_FIRST_PAUSE: Final = 0.002
_LONGEST_PAUSE: Final = 0.05
"""Seconds between two questions of a waiter, of which each process has one for each key."""


class Lease(Backing):
    """A lock that this process has in Redis until it stops renewing it. A guest's has no claim."""

    __slots__ = ("claim", "key", "token")

    def __init__(self, key: str, claim: str, token: int, *, shown: str | None = None, host: str | None = None) -> None:
        super().__init__(shown=shown, host=host)
        self.key = key
        self.claim = claim
        self.token = token


class Address(NamedTuple):
    """Where a Redis server is and how to get in."""

    host: str
    port: int
    db: int
    username: str | None
    password: str | None
    ssl: bool
    url: str | None

    def __str__(self) -> str:
        if self.url is None:
            return f"{self.host}:{self.port}/{self.db}"
        return self.url.rpartition("@")[2].rpartition("//")[2]  # a URL may have the password before the @

    def __repr__(self) -> str:
        return str(self)  # no password in messages

    def connect(self, patience: float) -> Redis:
        """Make a client whose calls give up after `patience` seconds."""
        from redis import Redis
        from redis.backoff import ExponentialBackoff
        from redis.retry import Retry

        options: dict[str, Any] = {
            "socket_timeout": patience,
            "socket_connect_timeout": patience,
            "retry": Retry(ExponentialBackoff(cap=patience / 4, base=0.01), 2),
        }
        if self.url is not None:
            return Redis.from_url(self.url, **options)
        return Redis(
            host=self.host,
            port=self.port,
            db=self.db,
            username=self.username,
            password=self.password,
            ssl=self.ssl,
            **options,
        )


class LeaseServer(Outside):
    """Locks on one Redis server that lapse unless this process, alive, renews them."""

    quick = False

    def __init__(self, address: Address | Redis, name: str, lease: float) -> None:
        self._address = address
        self._name = name
        self._lease = lease
        # A waiter learns of the end of a lease one pause later, and both together are to be within one lease.
        self._milliseconds = math.floor(lease * 900)
        self._leases: dict[str, Lease] = {}
        self._scripts: dict[str, Script] = {}
        self._mutex = Lock()
        self._client: Redis | None = None
        self._idle = False
        self._heart = Keeper(self._beat, "flowstone-lock-leases")
        after_fork(self, LeaseServer._forget)

    def _forget(self) -> None:
        self._leases = {}
        self._scripts = {}
        self._mutex = Lock()
        self._client = None

    # -- the contract

    def take(self, key: str, holder: str) -> Backing | None:
        claim = holder_path(None)
        try:
            with self._asking():
                names = [_bytes(name) for name in lineage(holder)]
                answer = self._run(redis_scripts.TAKE, [_lock(key), _COUNTER], claim, self._milliseconds, *names)
            if answer is None:
                return None
            token, host = answer
            if host:
                return Lease(key, "", int(token), host=_text(host))
            return self._keep_alive(Lease(key, claim, int(token), shown=holder))
        except BaseException:
            self._drop_in_doubt(key, claim)
            raise

    def _keep_alive(self, lease: Lease) -> Lease:
        with self._mutex:
            self._leases[lease.claim] = lease
        self._heart.poke(hurry=False)
        return lease

    def join(self, key: str, holder: str) -> Backing | None:
        host, token = self._owner(key)
        return Lease(key, "", token, host=host) if host in lineage(holder) else None

    def drop(self, key: str, backing: Backing) -> bool:
        if not isinstance(backing, Lease) or not backing.claim:
            return True
        with self._mutex:
            self._leases.pop(backing.claim, None)
        with self._asking():
            return bool(self._run(redis_scripts.DROP, [_lock(key)], backing.claim))

    def rename(self, key: str, backing: Backing, heir: str) -> None:
        if not isinstance(backing, Lease) or not backing.claim:
            return
        with self._asking():
            kept = self._run(redis_scripts.RENAME, [_lock(key)], backing.claim, _bytes(heir))
        if not kept:
            raise LockError(f"The lease on {key!r} had run out when {heir!r} was to inherit it.")
        backing.shown = heir

    def seen(self, key: str) -> bool:
        with self._asking():
            return bool(self._connected().exists(_lock(key)))

    def seen_with(self, key: str, holder: str) -> bool:
        return self._owner(key)[0] in lineage(holder)

    def sound(self, key: str, backing: Backing) -> bool:
        if not isinstance(backing, Lease):
            return False
        if not backing.claim:
            return self._owner(key) == (backing.host, backing.token)
        with self._asking():
            return bool(self._run(redis_scripts.RENEW, [_lock(key)], backing.claim, self._milliseconds))

    def pause(self, waited: float) -> float:
        return growing_pause(waited, _FIRST_PAUSE, min(_LONGEST_PAUSE, self._lease / 20))

    # -- beyond it

    def has_token(self, key: str, token: int) -> bool:
        """Say whether the lock on `key` is held under this token."""
        with self._asking():
            answer: Any = self._connected().hget(_lock(key), "token")
        return answer is not None and int(answer) == token

    def _owner(self, key: str) -> tuple[str, int]:
        """Return who shows as the owner of `key`, and the token; an empty name if nobody has it."""
        with self._asking():
            answer: Any = self._connected().hmget(_lock(key), "holder", "token")
        holder, token = answer
        return (_text(holder), int(token)) if holder else ("", 0)

    def _beat(self) -> float | None:
        """Renew all leases; returns the seconds until the next beat, None if there was nothing to renew twice.

        Once is not enough: a thread that came and went with every lock would cost more than the lock.
        A lease found lost here is not announced: `sound` asks the server itself, and so does giving it back.
        """
        with self._mutex:
            leases = list(self._leases.values())
        idle, self._idle = self._idle, not leases
        if not leases:
            return None if idle else self._lease / 3
        try:
            with self._asking():
                pipeline = self._connected().pipeline(transaction=False)
                for lease in leases:
                    keys = [_lock(lease.key)]
                    self._script(redis_scripts.RENEW)(keys, [lease.claim, self._milliseconds], client=pipeline)
                pipeline.execute()
        except LockError:
            return self._lease / 10  # There may be time for another try before the leases end.
        return self._lease / 3

    def _drop_in_doubt(self, key: str, claim: str) -> None:
        """Give back what may have been taken by a call of which nothing was heard; else its lease ends by itself."""
        with self._mutex:
            self._leases.pop(claim, None)
        with suppress(LockError), self._asking():
            self._run(redis_scripts.DROP, [_lock(key)], claim)

    def _run(self, script: str, keys: list[bytes], *arguments: str | bytes | int) -> Any:
        return self._script(script)(keys, list(arguments))

    def _script(self, text: str) -> Script:
        script = self._scripts.get(text)
        if script is None:
            script = self._scripts[text] = self._connected().register_script(text)
        return script

    def _connected(self) -> Redis:
        with self._mutex:
            if self._client is None:
                at = self._address
                self._client = at.connect(self._lease / 3) if isinstance(at, Address) else at
            return self._client

    @contextmanager
    def _asking(self) -> Iterator[None]:
        from redis.exceptions import RedisError

        try:
            yield
        except (RedisError, OSError) as error:
            raise LockError(f"The lock server {self._name} did not answer: {error}. Is it running?") from error


class RedisLockManager(SpaceLockManager):
    """Excludes the machines that use one Redis server, by leases.

    A lock lasts for `lease` seconds and is renewed three times in that time; when its process dies or is cut off, a
    waiter has it within that time. A process that was stopped for longer wakes up without its locks: it learns so from
    `still_held`, which renews the lease in the same step and so leaves a publisher a whole lease to finish.

    Give `url`, or `host` and its companions, or a `redis.Redis` of your own as `client`. Managers with equal arguments
    share their locks in a process. With a client of your own a manager cannot be pickled. A Redis that fails over to
    a replica may forget a lock: the fencing token of the next holder is greater all the same.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 6379,
        db: int = 0,
        username: str | None = None,
        password: str | None = None,
        ssl: bool = False,
        *,
        url: str | None = None,
        lease: float = 10.0,
        client: Redis | None = None,
    ) -> None:
        if not isinstance(lease, int | float) or not 0.1 <= lease < math.inf:
            raise ConfigurationError(f"lease must be a number of seconds, 0.1 or more; not {lease!r}.")
        if client is None and find_spec("redis") is None:
            raise ConfigurationError("RedisLockManager needs redis-py: pip install 'flowstone[redis]'.")
        self._address = Address(host, port, db, username, password, ssl, url)
        self._lease = float(lease)
        self._own_client = client
        where = client if client is not None else self._address
        name = str(self._address) if client is None else f"behind {client!r}"
        # A client is told by its identity: the space keeps it alive, so that no other can have the same.
        identity = ("redis", self._address if client is None else id(client), self._lease)
        self.space = shared_space(identity, lambda: LockSpace(LeaseServer(where, name, self._lease)))

    def fencing_token(self, key: str, holder: str) -> int:
        """Return the number of this tenure of `key`, greater than those of all before; for `check_fencing`.

        Raises LockError if neither `holder` nor an ancestor holds the lock.
        """
        backing = self.space.backing_of(key, holder)
        if not isinstance(backing, Lease):
            raise LockError(f"{holder!r} does not hold the lock on {key!r}, so it has no token.")
        return backing.token

    def check_fencing(self, key: str, token: int) -> bool:
        """Say whether `key` is still held under this token: neither given back, nor lost, nor taken over."""
        return self._server().has_token(key, token)

    def _server(self) -> LeaseServer:
        server = self.space.outside
        if not isinstance(server, LeaseServer):
            raise TypeError(f"The space of a RedisLockManager is behind a lease server, not {server!r}.")
        return server

    def __reduce__(self) -> tuple[object, ...]:
        if self._own_client is not None:
            self._refuse_pickle()
        return _rebuild, (self._address, self._lease)

    def _refuse_pickle(self) -> NoReturn:
        raise TypeError(
            "A RedisLockManager with a client of its own cannot be sent to another process; give it `url`, or `host` "
            "and its companions, instead."
        )

    def __repr__(self) -> str:
        place = repr(str(self._address)) if self._own_client is None else f"client={self._own_client!r}"
        return f"RedisLockManager({place})"


def _rebuild(address: tuple[str, int, int, str | None, str | None, bool, str | None], lease: float) -> RedisLockManager:
    *place, url = address
    return RedisLockManager(*place, url=url, lease=lease)  # type: ignore[arg-type]


_COUNTER: Final = f"{_PREFIX}:fence".encode()


def _lock(key: str) -> bytes:
    return f"{_PREFIX}:lock:".encode() + _bytes(key)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _text(answer: object) -> str:
    return answer.decode("utf-8", "surrogatepass") if isinstance(answer, bytes) else str(answer)
