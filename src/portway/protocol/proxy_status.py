"""The field Proxy-Status (RFC 9209): which proxy in a chain failed, and why. Pure."""

import re
from dataclasses import dataclass

MEMBERS_MAX = 8
"""Proxies of one chain that are reported; the rest is dropped."""

CHARS_MAX = 200
"""Of the details of one member."""

_VALUE = r'"(?:[^"\\]|\\.)*"|[^",;\s]+'
_MEMBER = re.compile(rf"\s*(?P<name>{_VALUE})(?P<parameters>(?:\s*;\s*[a-z*][a-z0-9_.*-]*(?:=(?:{_VALUE}))?)*)\s*(?:,|$)")
_PARAMETER = re.compile(rf";\s*(?P<key>[a-z*][a-z0-9_.*-]*)(?:=(?P<value>{_VALUE}))?")
_TOKEN = re.compile(r"[a-z][a-z0-9_]{0,63}")
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")


@dataclass(frozen=True, slots=True)
class ProxyStatus:
    """What one proxy reported."""

    name: str
    error: str = ""
    """Its error token; empty if the proxy did not fail itself."""
    details: str = ""

    def __str__(self) -> str:
        """Return it as a member of the field."""
        text = _quoted(self.name)
        if self.error:
            text += f"; error={self.error}"
        return f"{text}; details={_quoted(self.details)}" if self.details else text


def parse_proxy_status(value: bytes) -> tuple[ProxyStatus, ...]:
    """Return the members of a field, closest to the target first. Stops at the first that is invalid: the field is only advice."""
    text, at = value.decode("latin-1"), 0
    members: list[ProxyStatus] = []
    while len(members) < MEMBERS_MAX and at < len(text):
        member = _MEMBER.match(text, at)
        if member is None:
            break
        at = member.end()
        parameters = {each["key"]: _unquoted(each["value"] or "") for each in _PARAMETER.finditer(member["parameters"])}
        error = parameters.get("error", "")
        members.append(
            ProxyStatus(_unquoted(member["name"])[:64], error if _TOKEN.fullmatch(error) else "", parameters.get("details", "")[:CHARS_MAX])
        )
    return tuple(members)


def _unquoted(value: str) -> str:
    if value.startswith('"'):
        value = re.sub(r"\\(.)", r"\1", value[1:-1])
    return _UNPRINTABLE.sub("?", value)


def _quoted(text: str) -> str:
    return '"' + _UNPRINTABLE.sub("?", text).replace("\\", "\\\\").replace('"', '\\"') + '"'
