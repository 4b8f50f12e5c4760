"""Writes the reference of settings from their schema: `python -m flowstone.settings.document > docs/settings.md`."""

from __future__ import annotations

from flowstone.settings.schema import Flows, History, Logging, Results, Settings, TaskRunner, Tasks, Ui
from flowstone.settings.setting import Group, Setting

_HEAD = """\
# Settings

<!-- Made by `python -m flowstone.settings.document`; change src/flowstone/settings/ instead. -->

Every setting has two names: an environment variable (`FLOWSTONE_TASKS_DEFAULT_RETRIES`) and a path
(`tasks.default_retries`).

## Where values come from

The first of these that has a value decides; `flowstone config view` says which one did.

1. An environment variable. An empty one counts as not set.
2. The file `.env` in the current folder: lines of `NAME=value`.
3. The file `flowstone.toml` in the current folder.
4. The table `[tool.flowstone]` of the `pyproject.toml` in the current folder.
5. The profile in use, which `flowstone config set` writes.
6. The default.

In TOML files the paths are tables, and the variables' names are understood, too:

```toml
# flowstone.toml; in pyproject.toml the tables are [tool.flowstone.results] and [tool.flowstone.tasks]
[results]
persist_by_default = true

[tasks]
default_retries = 2
default_retry_delay_seconds = [1, 5, 30]
```

Settings are read when they are needed, not when flowstone is imported. A change of the environment holds at once, a
change of a file within a tenth of a second (longer where looking at files is slow). A file that is being edited while a
program runs cannot make it fail: if it cannot be read there is one warning, and the settings from before stay in force.

A value that is not accepted is an error that names the setting, the value, where it came from and what is accepted. A
name that no setting has is an error where it is given as an argument, and one warning where it stands in the
environment or a file; either says which name was probably meant.

In a path `~` is your home folder, and a relative path starts at the current folder. Variables in values are not
expanded.

## Profiles

A profile is a set of settings with a name, in `profiles.toml` in the home folder of flowstone, which only you can read.

```console
$ flowstone profile create ci --from default
$ flowstone profile use ci
$ flowstone -p default config view
```

`FLOWSTONE_PROFILE` and `-p` choose another profile than the one in use.

## In code

```python
from flowstone.settings import FLOWSTONE_TASKS_REFRESH_CACHE, get_current_settings, temporary_settings

get_current_settings().tasks.refresh_cache  # False
FLOWSTONE_TASKS_REFRESH_CACHE.value()  # False

with temporary_settings({FLOWSTONE_TASKS_REFRESH_CACHE: True}):
    ...
```

`get_current_settings()` returns the same object for as long as nothing changes. `temporary_settings` holds for the
current thread or asynchronous task; a thread that you start yourself does not inherit it.
"""

_TITLES: tuple[tuple[str, type[Group]], ...] = (
    ("Places", Settings),
    ("Results", Results),
    ("Tasks", Tasks),
    ("Task runners", TaskRunner),
    ("Flows", Flows),
    ("Logging", Logging),
    ("History", History),
    ("What you see", Ui),
)


def render() -> str:
    """Return the reference of all settings as Markdown."""
    return "\n".join([_HEAD, *(_group(title, group) for title, group in _TITLES)])


def _group(title: str, group: type[Group]) -> str:
    return "\n".join([f"## {title}\n", *map(_setting, group.declared())])


def _setting(declared: Setting) -> str:
    facts = [
        f"- in files: `{declared.path}`",
        f"- accepts {declared.kind.accepts}",
        f"- default: `{declared.default_text}`",
    ]
    if declared.aliases:
        facts.append("- old name: " + ", ".join(f"`{alias}`" for alias in declared.aliases))
    if declared.secret:
        facts.append("- a secret: never shown unless asked for")
    if not declared.in_profiles:
        facts.append("- cannot be set in a profile")
    return f"### {declared.name}\n\n{declared.about}\n\n" + "\n".join(facts) + "\n"


if __name__ == "__main__":
    print(render(), end="")
