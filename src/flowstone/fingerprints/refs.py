"""What code says of the names it reads, before anybody looks at what they are."""

from __future__ import annotations

from typing import Final, TypeAlias

Ref: TypeAlias = tuple[str, str, tuple[str, ...]]
"""One reading of a name: its kind, the name, and the attributes read from it (`helpers.scale` gives ("helpers", ("scale",)))."""

NAME: Final = "name"
ANNOTATION: Final = "annotation"  # read by an annotation: what is missing is no matter
TOUCH: Final = "touch"  # an attribute of it is set or deleted
GETATTR: Final = "getattr"  # the last attribute is a literal given to `getattr`
IMPORT: Final = "import"  # the name is a module (with leading dots when relative)
CHANGED: Final = "changed"  # a value that the code itself changes: its memory
SELF: Final = "self"  # an attribute of a method's own object; with no attribute, the object as a whole
SUPER: Final = "super"
DYNAMIC: Final = (
    "dynamic"  # an expression that cannot be followed; the chain is the builtin it relies on, and the reason
)
