"""Many files at once: how a group of blobs becomes visible in one step.

The blobs are written to a new folder, each under the name it will have in the store. Renaming this folder to `group/`
is the moment at which all of them become visible, for a reader looks into `group/` first whenever there is one. Then
each file is moved from there to its place, which no reader can tell, and the empty folder is removed.

- A folder can be renamed to `group/` only while there is none, or an empty one. So there is at most one group, groups
  come one after the other, and who comes second first finishes what is there.
- Everything in `group/` is committed, and its name says where it belongs. So any process may move any file from there
  at any time, and a file that is gone has been moved: finishing twice, together or after a kill is the same as once.
- Who replaces or removes a file must finish the group before, lest a file of the group, older, land on his. Readers
  need not: they neither wait nor write.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from contextlib import suppress

from flowstone.filesystems.paths import LinkError, make_at, refuse_link, walk

_NOT_FREE = (errno.ENOTEMPTY, errno.EEXIST)
_IN_THE_WAY = (errno.EISDIR, errno.ENOTDIR, errno.ENOTEMPTY, errno.EEXIST)


def commit(new: str, group: str, root: str) -> None:
    """Make the files in the folder `new` visible as those of the store at `root`, all in one step."""
    while True:
        try:
            os.rename(new, group)
            return
        except OSError as error:
            if error.errno not in _NOT_FREE:
                raise
        settle(group, root)


def settle(group: str, root: str, names: Iterable[str] = ()) -> int:
    """Move all files of the committed group to their places; return how many this call moved.

    `names` are those known to be in it. Raises OSError if one cannot be moved; the group then stays as it is, visible
    and whole.
    """
    refuse_link(group)
    moved = sum(_settle_one(group, root, name) for name in names)
    while True:
        try:
            os.rmdir(group)
            return moved
        except FileNotFoundError:
            return moved
        except OSError as error:
            if error.errno not in _NOT_FREE:
                raise
        # Files are left, or folders. Or a listing missed a name while others removed theirs, or the next group came.
        moved += sum(_settle_one(group, root, name) for name in [name for name, _ in walk(group + "/")])
        _remove_folders_in(group)


def _settle_one(group: str, root: str, name: str) -> bool:
    """Move one file to its place; return False if another process has."""
    source = f"{group}/{name}"
    try:
        make_at(root, name, lambda last, where: os.replace(source, last, dst_dir_fd=where))
        return True
    except FileNotFoundError:
        if os.path.lexists(source):
            raise
        return False
    except OSError as error:
        if not isinstance(error, LinkError) and error.errno not in _IN_THE_WAY:
            raise
    # After the group was committed someone made a folder of this name, or a file of its folder's. As with any later
    # write, his stays.
    with suppress(FileNotFoundError):
        os.unlink(source)
    return False


def _remove_folders_in(folder: str) -> None:
    """Remove the empty folders below `folder`, the inner ones first."""
    with suppress(FileNotFoundError):
        with os.scandir(folder) as entries:
            inner = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
        for path in inner:
            _remove_folders_in(path)
            try:
                os.rmdir(path)
            except OSError as error:
                if error.errno not in (*_NOT_FREE, errno.ENOENT):
                    raise
