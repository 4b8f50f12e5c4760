"""What code says of the names it reads, before anybody looks at what they are."""

from __future__ import annotations

from typing import Final, TypeAlias

Ref: TypeAlias = tuple[str, str, tuple[str, ...]]
"""One reading of a name: its kind, the name, and the attributes read from it (`helpers.scale` gives ("helpers",
("scale",))).
"""

NAME: Final = "name"
ANNOTATION: Final = "annotation"  # read by an annotation: what is missing is no matter
GETATTR: Final = "getattr"  # the last attribute is a literal given to `getattr`
IMPORT: Final = "import"  # the name is a module (with leading dots when relative)
SELF: Final = "self"  # an attribute of a method's own object; with no attribute, the object as a whole
SUPER: Final = "super"
DYNAMIC: Final = (
    "dynamic"  # an expression that cannot be followed; the chain is the builtin it relies on, and the reason
)
CHANGED: Final = (
    "changed"  # the code itself changes what this leads to: it is the code's memory, not code (docs/adr/0003)
)
CHANGED_DEFAULT: Final = "changed default"  # the same of a parameter, which may hold its default
CHANGED_SELF: Final = "changed self"  # the same of a method's own object
