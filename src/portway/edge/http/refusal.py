"""A response in the origin's place, as access control decides it."""

from typing import NamedTuple

from portway.protocol.http1.fields import Field


class Refusal(NamedTuple):
    """An error response, or a redirect."""

    code: str
    """A key of ERROR_RESPONSES."""
    detail: str = ""
    fields: tuple[Field, ...] = ()
    """Additional fields."""
