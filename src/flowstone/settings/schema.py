"""Every setting there is: one line each. Names, files, documentation and `flowstone config` follow from here."""

from __future__ import annotations

from flowstone.settings.kinds import (
    BOOLEAN,
    COUNT,
    DELAY,
    FOLDER,
    LOCATION,
    POSITIVE,
    SIZE,
    TEXT,
    TYPE_CHECKING,
    Choice,
    maybe,
)
from flowstone.settings.setting import Group, Setting, setting

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

LEVELS = Choice("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


class Origin:
    """Where a value came from: `label` is the short word for lists, `place` the whole story for errors."""

    __slots__ = ("label", "place")

    def __init__(self, label: str, place: str) -> None:
        self.label = label
        self.place = place

    def __repr__(self) -> str:
        return f"Origin({self.label!r}, {self.place!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Origin) and (self.label, self.place) == (other.label, other.place)

    def __hash__(self) -> int:
        return hash((self.label, self.place))


DEFAULT = Origin("defaults", "the defaults")


class Results(Group):
    """What is kept of results, where, and how."""

    prefix = "results"

    persist_by_default: bool = setting(
        BOOLEAN, False, "Keep the results of all tasks and flows, which turns caching on."
    )
    local_storage_path: str = setting(
        FOLDER,
        "",
        "The folder where results are kept.",
        under_home="storage",
        aliases=("FLOWSTONE_LOCAL_STORAGE_PATH",),
    )
    default_storage: str | None = setting(
        maybe(LOCATION), None, "Keep results here instead, a folder or a URL; also turns persistence on."
    )
    default_serializer: str = setting(TEXT, "pickle", "How results are written: pickle, json, or compressed/NAME.")
    signing_key: str | None = setting(
        maybe(TEXT), None, "Sign records with this key; without it each store has a key of its own.", secret=True
    )
    verify: str = setting(
        Choice("all", "header"), "all", "Check all of a record before it is used, or its header only."
    )
    durability: str = setting(
        Choice("fast", "safe"), "fast", "safe: a result outlives a power cut; costs milliseconds a write."
    )
    safe_serializers_only: bool = setting(
        BOOLEAN, False, "Refuse serializers that can run code when they read, such as pickle."
    )
    memory_bytes: int = setting(SIZE, 256 << 20, "How many bytes of results a process remembers in memory.")


class TaskRunner(Group):
    """How many workers run submitted tasks."""

    prefix = "tasks.runner"

    thread_pool_max_workers: int | None = setting(
        maybe(POSITIVE), None, "How many threads run submitted tasks; none means no limit."
    )
    process_pool_max_workers: int | None = setting(
        maybe(POSITIVE), None, "How many processes run submitted tasks; none means one per core."
    )


class Tasks(Group):
    """What tasks do unless their own options say otherwise."""

    prefix = "tasks"
    runner: TaskRunner

    refresh_cache: bool = setting(
        BOOLEAN, False, "Run every task and overwrite its record, except tasks with `refresh_cache=False`."
    )
    default_retries: int = setting(COUNT, 0, "How often a task that fails is tried again.")
    default_retry_delay_seconds: float | tuple[float, ...] = setting(
        DELAY, 0, "How long to wait before each retry of a task."
    )
    default_persist_result: bool | None = setting(
        maybe(BOOLEAN), None, "Keep the results of tasks that do not say, whatever their flow says."
    )
    default_no_cache: bool = setting(BOOLEAN, False, "Give tasks without a cache policy the policy NO_CACHE.")
    disable_caching: bool = setting(BOOLEAN, False, "Give every task the policy NO_CACHE.")


class Flows(Group):
    """What flows do unless their own options say otherwise."""

    prefix = "flows"

    default_retries: int = setting(COUNT, 0, "How often a flow that fails is tried again.")
    default_retry_delay_seconds: float | tuple[float, ...] = setting(
        DELAY, 0, "How long to wait before each retry of a flow."
    )


class Logging(Group):
    """What is logged, and how it looks."""

    prefix = "logging"

    level: str = setting(LEVELS, "INFO", "The least important messages that are shown.")
    log_prints: bool = setting(BOOLEAN, False, "Log what tasks and flows print, unless they say.")
    colors: bool = setting(BOOLEAN, True, "Colour messages on a terminal.")


class History(Group):
    """What is remembered of runs."""

    prefix = "history"

    enabled: bool = setting(BOOLEAN, True, "Remember runs, so that they can be listed and explained.")
    retention_days: int | None = setting(maybe(POSITIVE), 90, "How many days runs are remembered; none means for ever.")


class Ui(Group):
    """What a person sees while a flow runs."""

    prefix = "ui"

    progress: str = setting(Choice("auto", "on", "off"), "auto", "Show progress: auto means on a terminal.")


class Settings(Group):
    """The values of all settings at one moment; immutable.

    A value is an attribute of its group (`settings.results.persist_by_default`) and also one of this object
    (`settings.results_persist_by_default`). Paths are absolute and plain text. `get_current_settings` returns the very
    same object as long as nothing changes, so what is derived from it may be kept while it is that object.
    """

    home: str = setting(FOLDER, "~/.flowstone", "The folder where flowstone keeps what it knows.", in_profiles=False)
    profile: str = setting(
        TEXT,
        "default",
        "The profile in force; without it, the one in use (`flowstone profile use`).",
        in_profiles=False,
    )
    profiles_path: str = setting(
        FOLDER, "", "The file that holds the profiles.", under_home="profiles.toml", in_profiles=False
    )

    results: Results
    tasks: Tasks
    flows: Flows
    logging: Logging
    history: History
    ui: Ui

    def __init__(self, values: Mapping[str, object], origins: Mapping[str, Origin]) -> None:
        super().__init__(values)
        runner = TaskRunner(values)
        tasks = Tasks(values)
        vars(tasks)["runner"] = runner
        groups = {
            "results": Results(values),
            "tasks": tasks,
            "flows": Flows(values),
            "logging": Logging(values),
            "history": History(values),
            "ui": Ui(values),
        }
        flat = {each.path.replace(".", "_"): values[name] for name, each in SETTINGS.items()}
        vars(self).update(groups, **flat, _values=dict(values), _origins=dict(origins))

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """The flat names, for code that cannot afford a second attribute."""

    def value(self, name: str) -> Any:
        """Return the value of the setting with the environment variable `name`."""
        return self._values[name]

    def origin(self, name: str) -> Origin:
        """Return where the value of the setting with the environment variable `name` came from."""
        origin: Origin = self._origins.get(name, DEFAULT)
        return origin

    def to_environment_variables(self) -> dict[str, str]:
        """Return what is not at its default as environment variables that give another process these settings.

        Secrets are among them, in the clear.
        """
        return {name: SETTINGS[name].kind.write(value) for name, value in self._values.items() if name in self._origins}

    def same_as(self, other: Settings) -> bool:
        """Tell if every value and its origin are equal."""
        return bool(self._values == other._values and self._origins == other._origins)

    def __repr__(self) -> str:
        given = (
            f"{name}={SETTINGS[name].show(self._values[name])!r} (from {origin.label})"
            for name, origin in self._origins.items()
        )
        return f"Settings({', '.join(given)})"

    def __reduce__(self) -> tuple[object, ...]:
        return Settings, (self._values, self._origins)


SETTINGS: Mapping[str, Setting] = {
    declared.name: declared
    for group in (Settings, Results, Tasks, TaskRunner, Flows, Logging, History, Ui)
    for declared in group.declared()
}
