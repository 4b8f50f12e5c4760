"""The keys that records are signed with: who may write what this process is willing to load.

A keyring writes with one key and reads with all of its keys. Its keys come from a text that a team shares, or from a
file that is made once per home and that nobody but its owner may read.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import cache
from typing import Final

from blake3 import blake3

from flowstone.exceptions import ConfigurationError

KEY_FILE: Final = "signing.key"
SECRET_SIZE: Final = 32
KEY_ID_SIZE: Final = 8

_SECRET_CONTEXT: Final = "flowstone 2025-11 secret of a record signing key"
_ID_CONTEXT: Final = "flowstone 2025-11 public name of a record signing key"


class SigningKey:
    """One secret and the short public name by which a record says which key signed it."""

    __slots__ = ("id", "secret")

    def __init__(self, secret: bytes) -> None:
        if len(secret) != SECRET_SIZE:
            raise ConfigurationError(f"A signing key has {SECRET_SIZE} bytes, got {len(secret)}.")
        self.secret = secret
        self.id = blake3(secret, derive_key_context=_ID_CONTEXT).digest(KEY_ID_SIZE)

    @classmethod
    def from_text(cls, text: str) -> SigningKey:
        """Derive a key from any text; the same text gives the same key everywhere."""
        return cls(blake3(text.encode(), derive_key_context=_SECRET_CONTEXT).digest())

    def __repr__(self) -> str:
        return f"SigningKey(id={self.id.hex()})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SigningKey) and other.secret == self.secret

    def __hash__(self) -> int:
        return hash(self.secret)


class Keyring:
    """The key that signs, and every key whose records may be read; immutable.

    `reading` maps the name of a key to its secret. Pickles with its secrets, so that a worker on another machine signs
    and trusts as this process does; therefore the serializers refuse to record one.
    """

    __slots__ = ("keys", "reading", "writing")

    reading: Mapping[bytes, bytes]

    def __init__(self, writing: SigningKey, others: Iterable[SigningKey] = ()) -> None:
        self.writing = writing
        self.keys = (writing, *others)
        self.reading = {key.id: key.secret for key in self.keys}

    @classmethod
    def from_text(cls, text: str) -> Keyring:
        """Make a keyring of one or more texts, separated by commas: the first writes, all read."""
        texts = [part.strip() for part in text.split(",")]
        if not all(texts):
            raise ConfigurationError("A signing key must not be empty; separate several keys by single commas.")
        first, *others = map(SigningKey.from_text, texts)
        return cls(first, others)

    def __repr__(self) -> str:
        return f"Keyring({', '.join(key.id.hex() for key in self.keys)})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Keyring) and other.keys == self.keys

    def __hash__(self) -> int:
        return hash(self.keys)

    def __reduce__(self) -> tuple[object, ...]:
        return _flowstone_keyring_from_secrets, tuple(key.secret for key in self.keys)


def _flowstone_keyring_from_secrets(*secret_bytes: bytes) -> Keyring:
    first, *others = map(SigningKey, secret_bytes)
    return Keyring(first, others)


def load_keyring(text: str | None, home: str | os.PathLike[str], warn: Callable[[str], None]) -> Keyring:
    """Return the keyring of `text` or, without one, of the file in `home`, which is made if it is missing.

    When the file cannot be used the keyring is one of this process alone, `warn` is told why and what to do, and every
    record of others is foreign.
    """
    if text and text.strip():
        return Keyring.from_text(text)
    path = os.path.join(os.path.expanduser(os.fspath(home)), KEY_FILE)
    try:
        return Keyring(SigningKey(_read_or_make(path)))
    except (OSError, ConfigurationError) as error:
        warn(
            f"The key that signs records cannot be used: {error}. Results of this process will not be reused by others;"
            " repair the file or set FLOWSTONE_RESULTS_SIGNING_KEY."
        )
        return Keyring(_key_of_this_process())


@cache
def _key_of_this_process() -> SigningKey:
    """Make a key that ends with this process, and with what it forks."""
    return SigningKey(os.urandom(SECRET_SIZE))


def _read_or_make(path: str) -> bytes:
    try:
        return _read(path)
    except FileNotFoundError:
        _make(path)
        return _read(path)


def _read(path: str) -> bytes:
    """Return the secret in the file at `path`; raises OSError or ConfigurationError if there is none to be trusted."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0))
    try:
        _check_owner(path, os.fstat(descriptor))
        text = os.read(descriptor, 4096)
    finally:
        os.close(descriptor)
    try:
        secret = bytes.fromhex(text.decode("ascii"))
    except ValueError:
        secret = b""
    if len(secret) != SECRET_SIZE:
        raise ConfigurationError(f"{path} does not hold a key; remove it to have a new one made")
    return secret


def _check_owner(path: str, status: os.stat_result) -> None:
    """Refuse a file that others can read: whoever knows the key can make this process execute a pickle."""
    if os.name == "nt":
        return  # the profile folder's access list protects the file; the mode bits say nothing
    if not stat.S_ISREG(status.st_mode):
        raise ConfigurationError(f"{path} is not a regular file")
    if status.st_mode & 0o077:
        raise ConfigurationError(f"{path} is open to others (mode {status.st_mode & 0o777:04o}); run chmod 600 on it")
    if status.st_uid not in (os.geteuid(), 0):
        raise ConfigurationError(f"{path} belongs to another user")


def _make(path: str) -> None:
    """Write a fresh key beside and link it into place: of several processes at once exactly one wins."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    temporary = f"{path}.{os.getpid()}-{os.urandom(4).hex()}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(os.urandom(SECRET_SIZE).hex().encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())  # a key lost to a power cut would make every record foreign
        _place(temporary, path)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(temporary)


def _place(temporary: str, path: str) -> None:
    try:
        os.link(temporary, path)
    except FileExistsError:
        pass  # another process was first; its key holds for all
    except OSError:
        # No hard links here. Two processes at once may then part over the first key; the records of one are foreign.
        if not os.path.exists(path):
            os.replace(temporary, path)
