"""What one setting is, and the groups that settings come in."""

from __future__ import annotations

from flowstone.settings.kinds import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, ClassVar, NoReturn, TypeVar

    from flowstone.settings.kinds import Kind

    T = TypeVar("T")

PREFIX = "FLOWSTONE_"
MASK = "********"


class Setting:
    """One setting: its names, the values it accepts, its default, and what it is for.

    `name` is its environment variable, `path` its place in TOML files and on a `Settings` object.
    """

    __slots__ = (
        "about",
        "aliases",
        "attribute",
        "default",
        "in_profiles",
        "kind",
        "name",
        "path",
        "secret",
        "under_home",
    )

    read: ClassVar[Callable[[str], Any]]  # given by flowstone.settings.current, which knows where values come from

    def __init__(
        self, kind: Kind[object], default: object, about: str, aliases: tuple[str, ...], **options: bool | str
    ) -> None:
        self.kind = kind
        self.default = default
        self.about = about
        self.aliases = aliases
        self.secret = bool(options.get("secret", False))
        self.in_profiles = bool(options.get("in_profiles", True))
        self.under_home = str(options.get("under_home", ""))

    def __set_name__(self, owner: type[Group], name: str) -> None:
        self.attribute = name
        self.path = f"{owner.prefix}.{name}" if owner.prefix else name
        self.name = PREFIX + self.path.replace(".", "_").upper()

    def value(self) -> Any:
        """Return the value that is in force where this is called."""
        return Setting.read(self.name)

    def show(self, value: object, *, secrets: bool = False) -> str:
        """Return `value` as text to look at; a secret is masked unless `secrets`."""
        if value is None:
            return "None"
        return MASK if self.secret and not secrets else self.kind.write(value)

    @property
    def default_text(self) -> str:
        """The default as a person would write it."""
        return f"$FLOWSTONE_HOME/{self.under_home}" if self.under_home else self.show(self.default, secrets=True)

    def __repr__(self) -> str:
        return f"<{self.name}: {self.kind.name}>"


def setting(
    kind: Kind[T],
    default: T,
    about: str,
    *,
    aliases: tuple[str, ...] = (),
    secret: bool = False,
    in_profiles: bool = True,
    under_home: str = "",
) -> T:
    """Declare a setting in a group's body; the declared type is that of its values.

    `under_home` makes the default a path in FLOWSTONE_HOME. `in_profiles` is off for what says where profiles are.
    """
    options: dict[str, bool | str] = {"secret": secret, "in_profiles": in_profiles, "under_home": under_home}
    return Setting(kind, default, about, aliases, **options)  # type: ignore[return-value]  # instances hold the values


class Group:
    """The values of the settings under one prefix; immutable."""

    prefix: ClassVar[str] = ""

    def __init__(self, values: Mapping[str, object]) -> None:
        vars(self).update({declared.attribute: values[declared.name] for declared in self.declared()})

    @classmethod
    def declared(cls) -> list[Setting]:
        """Return the settings of this group alone, in the order of their lines."""
        return [item for item in vars(cls).values() if isinstance(item, Setting)]

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"Settings are a snapshot: use `temporary_settings(...)` to change {name!r} for a while.")

    def __delattr__(self, name: str) -> NoReturn:
        self.__setattr__(name, None)

    def __repr__(self) -> str:
        shown = (f"{each.attribute}={each.show(getattr(self, each.attribute))!r}" for each in self.declared())
        return f"{type(self).__name__}({', '.join(shown)})"
