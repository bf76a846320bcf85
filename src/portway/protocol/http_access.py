"""Access rules of an http tunnel: what its agent asks the server to enforce, checked and prepared. Pure."""

from typing import Literal

from portway.protocol.control.messages import AccessRules

PlainHttp = Literal["redirect", "serve", "refuse"]
"""What happens to a visitor's plain HTTP once the name has HTTPS."""


class HttpAccess:
    """The access rules of one tunnel."""

    __slots__ = ("hsts", "plain_http")

    def __init__(self, rules: AccessRules) -> None:
        """Prepare `rules`."""
        self.plain_http: PlainHttp = rules.plain_http
        self.hsts = b"" if rules.hsts_s is None else b"max-age=%d" % rules.hsts_s
        """Value of Strict-Transport-Security (RFC 6797); empty: the field is left to the origin."""


DEFAULT = HttpAccess(AccessRules())
"""The rules of a tunnel that asks for none."""


def must_be_enforced(rules: AccessRules | None) -> bool:
    """Return whether a tunnel must not be served by a server that ignores its rules."""
    return rules is not None and rules.plain_http == "refuse"


def is_local_name(host: str) -> bool:
    """Return whether a normalised host name always means the visitor's own machine (RFC 6761 section 6.3)."""
    return host == "localhost" or host.endswith(".localhost")
