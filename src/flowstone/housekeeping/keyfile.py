"""Looking at the file that holds a signing key, without making one."""

from __future__ import annotations

import os
import stat

from flowstone.signing import SECRET_SIZE


def find_fault_of_key_file(path: str) -> str:
    """Say why the key in the file at `path` will not be used; "" if it will, or if there is no such file yet."""
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            return "it is not a regular file"
        if os.name != "nt":
            if status.st_mode & 0o077:
                mode = f"{status.st_mode & 0o777:04o}"
                return f"it is open to others (mode {mode}): chmod 600 it, or remove it if they may have used it"
            if status.st_uid not in (os.geteuid(), 0):
                return "it belongs to another user"
        with open(path, "rb") as file:
            text = file.read(4096)
    except FileNotFoundError:
        return ""
    except OSError as error:
        return f"it cannot be read: {error.strerror or error}"
    return "" if _holds_key(text) else "it does not hold a key; remove it to have a new one made"


def _holds_key(text: bytes) -> bool:
    try:
        return len(bytes.fromhex(text.decode("ascii"))) == SECRET_SIZE
    except ValueError:
        return False
