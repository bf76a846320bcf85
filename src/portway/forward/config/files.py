"""The files that settings name, host lists and users, and what a proxy makes of them. Everything here blocks, and runs in a thread."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from portway.config.versions import Version, version_of
from portway.credentials.password_file import PROXY_USERS, read_users
from portway.errors import ConfigError
from portway.forward.interfaces import User
from portway.forward.policy.host_list import HostList
from portway.forward.policy.list_store import HostListStore
from portway.forward.policy.pattern_set import PatternSet
from portway.forward.policy.policy import RuleSet
from portway.forward.policy.rules import TargetRules
from portway.forward.policy.settings import PolicySettings
from portway.forward.settings import ForwardSettings
from portway.forward.users.directory import ProxyUser
from portway.protocol.password_hash import parse_password_hash

OnError = Callable[[ConfigError], None]


@dataclass(frozen=True, slots=True)
class LoadedFiles:
    """Rules and users at one moment."""

    rules: RuleSet
    users: Mapping[str, ProxyUser] | None
    """None: the proxy has no users."""
    notes: tuple[str, ...] = ()
    """What has no effect, for the operator."""


class ForwardFiles:
    """Loads the files of changing settings; host lists that have not changed are not read again."""

    def __init__(self) -> None:
        """Start without any."""
        self._lists = HostListStore()
        self._hashes: dict[str, str] = {}
        """The users of the last valid file."""

    def load(self, settings: ForwardSettings, pause: Callable[[], None] = lambda: None, on_error: OnError | None = None) -> LoadedFiles:
        """Return rules and users; `pause` is called after each millisecond of work with host lists.

        With `on_error`, a file that is broken now stays as it was, and the error is passed on.

        Raises:
            ConfigError: a file is missing or invalid, and there is no older content to use.
        """
        lists = self._lists.load(_list_paths(settings), pause, on_error)
        notes = [
            f"{found.path}: {found.skipped} lines skipped: no names, hosts or ||NAME^ rules" for found in lists.values() if found.skipped
        ]
        users = None
        if settings.users is not None:
            self._hashes = self._read_hashes(settings.users, on_error)
            users = {name: _proxy_user(name, text, settings) for name, text in self._hashes.items()}
            notes += [f"[proxy.user.{name}]: no such user in {settings.users}" for name in settings.of_users if name not in users]
        opened = settings.allow_private or settings.destination is not None
        of_users = {name: _rules(one, lists, allow_private=one.allow_private) for name, one in settings.of_users.items()}
        return LoadedFiles(RuleSet(_rules(settings, lists, allow_private=opened), of_users), users, tuple(notes))

    def _read_hashes(self, path: Path, on_error: OnError | None) -> dict[str, str]:
        try:
            return dict(read_users(path, follow=False, kind=PROXY_USERS))
        except ConfigError as exc:
            if on_error is None:
                raise
            on_error(exc)
            return self._hashes


def versions_of(settings: ForwardSettings, config: Path | None) -> dict[Path, Version]:
    """Return the version of every file that a running proxy watches."""
    paths = [*_list_paths(settings), *(path for path in (config, settings.users) if path is not None)]
    return {path: version_of(path) for path in paths}


def _list_paths(settings: ForwardSettings) -> list[Path]:
    found: list[PolicySettings] = [settings, *settings.of_users.values()]
    return list(dict.fromkeys(path for one in found for path in one.list_paths))


def _rules(settings: PolicySettings, lists: Mapping[Path, HostList], *, allow_private: bool) -> TargetRules:
    return TargetRules(
        PatternSet(settings.allow),
        PatternSet(settings.block),
        tuple(lists[path] for path in settings.allow_list),
        tuple(lists[path] for path in settings.block_list),
        allow_private,
    )


def _proxy_user(name: str, password_hash: str, settings: ForwardSettings) -> ProxyUser:
    own = settings.of_users.get(name)
    user = User(name) if own is None else User(name, own.limits, own.max_tunnels)
    return ProxyUser(user, parse_password_hash(password_hash))
