"""Checks of the repository: package docstrings, sizes, documents, plain words, pinned requirements, no traces of one machine."""

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import pytest

from portway.cli.main import portway as command_line
from portway.protocol.control.codes import DESCRIPTIONS
from portway.protocol.http1.error_responses import ERROR_RESPONSES

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ROOT / "src" / "portway"
FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60

MACHINE = tuple("".join(parts) for parts in (("/wo", "rk/"), ("/ro", "ot/"), ("/home", "/"), ("/opt/", "wheels")))
"""Folders of one machine; split into parts, so that this file does not contain them."""

REGISTRIES = tuple(
    "".join(parts)
    for parts in (
        ("py", "pi.org"),
        ("python", "hosted.org"),
        ("crates", ".io"),
        ("proxy.", "golang.org"),
        ("registry.", "npmjs.org"),
        ("repo.maven", ".apache.org"),
        ("deb.", "debian.org"),
    )
)
"""Package sources are configured by the user, not by the repository."""


@cache
def tracked() -> tuple[Path, ...]:
    """Return every tracked file that exists; skip in a copy without git."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git clone")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return tuple(path for name in listed.split("\0") if name and (path := ROOT / name).is_file())


@cache
def modules() -> tuple[Path, ...]:
    return tuple(sorted(SOURCES.rglob("*.py")))


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_every_package_has_a_docstring_and_no_code() -> None:
    for path in modules():
        if path.name != "__init__.py":
            continue
        tree = ast.parse(path.read_text())
        docstring = ast.get_docstring(tree) or ""
        extra = [] if path.parent == SOURCES else tree.body[1:]

        assert docstring.splitlines()[0].endswith("."), f"{name_of(path)}: expected a docstring whose first line ends with a full stop"
        assert not extra, f"{name_of(path)}: expected no code: re-exports cause import cycles"


def test_every_folder_of_sources_is_a_package() -> None:
    folders = {path.parent for path in modules()}

    assert [name_of(folder) for folder in folders if not (folder / "__init__.py").exists()] == []


def test_no_file_is_too_long() -> None:
    long = {name_of(path): count for path in modules() if (count := path.read_text().count("\n")) > FILE_LINES_MAX}

    assert long == {}


def test_no_function_is_too_long() -> None:
    long = {}
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
                lines = node.end_lineno - node.lineno + 1
                if lines > FUNCTION_LINES_MAX:
                    long[f"{name_of(path)}: {node.name}"] = lines

    assert long == {}


def test_no_coroutine_on_the_visitor_path() -> None:
    visitor_path = ("engine/", "mux/", "edge/", "session/stream_handshake.py", "agent/origins.py", "agent/origin_connector.py")
    waiting = [
        f"{name_of(path)}:{node.lineno}"
        for path in modules()
        if str(path.relative_to(SOURCES)).startswith(visitor_path)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith)
    ]

    assert waiting == [], "the reactor accepts visitors, opens their streams and moves their bytes (ADR 0002)"


def test_every_module_has_a_test_in_the_mirrored_folder() -> None:
    untested = []
    for path in modules():
        if path.name in ("__init__.py", "__main__.py") or name_of(path) in TESTED_ELSEWHERE:
            continue
        folder = ROOT / "tests" / path.relative_to(SOURCES).parent
        name = ".".join(("portway", *path.relative_to(SOURCES).with_suffix("").parts))
        around = folder if folder.parent.name == "tests" else folder.parent  # a package's own tests, or those of its siblings
        tests = [test.read_text() for pattern in ("test_*.py", "*/test_*.py") for test in around.glob(pattern)]
        if not (folder / f"test_{path.name}").exists() and not any(re.search(rf"\b{re.escape(name)}\b", test) for test in tests):
            untested.append(name_of(path))

    assert untested == []


def test_modules_tested_elsewhere_exist() -> None:
    assert [name for name in TESTED_ELSEWHERE if not (ROOT / name).exists()] == []


TESTED_ELSEWHERE = {
    "src/portway/agent/termination/certificates.py": "tests/e2e/test_terminate_agent runs each source",
    "src/portway/agent/termination/settings.py": "plain values; tests/cli/test_termination makes each",
    "src/portway/agent/termination/terminator.py": "tests/e2e/test_terminate_agent runs it",
    "src/portway/agent/events.py": "plain values; test_console and test_status match on every one",
    "src/portway/cli/demo.py": "tests/demo runs it",
    "src/portway/cli/expose.py": "tests/e2e runs it, tests/cli/test_main its errors",
    "src/portway/forward/http/client_connection.py": "test_forwarding covers it over sockets",
    "src/portway/forward/udp/destinations.py": "test_association covers it over sockets",
    "src/portway/forward/udp/shaping.py": "test_association: a rate delays datagrams",
    "src/portway/forward/client.py": "test_proxy covers it over sockets",
    "src/portway/forward/pkcs12.py": "test_tls_context covers it",
    "src/portway/forward/negotiation/interfaces.py": "protocols for the type checker",
    "src/portway/forward/negotiation/socks4.py": "test_proxy covers it over sockets",
    "src/portway/forward/negotiation/socks5.py": "test_proxy covers it over sockets",
    "src/portway/forward/negotiation/fixed_target.py": "test_proxy covers it over sockets",
    "src/portway/forward/events.py": "plain values; test_console matches on every one",
    "src/portway/cli/options.py": "tests/cli/test_main checks every option's help and errors",
    "src/portway/cli/server.py": "tests/e2e runs it, tests/cli/test_main its errors",
    "src/portway/edge/http/visitor/read_ahead.py": "test_leaving covers it",
    "src/portway/edge/http/exchange/base.py": "failures of exchanges: test_answers_to_trouble, test_pool and test_truncation",
    "src/portway/edge/http/visitor/waiting.py": "waiting visitors: test_routing and test_full_links",
    "src/portway/clock.py": "names for the standard library's clocks",
    "src/portway/demo/app.py": "tests/demo/test_demo runs the demo as a program",
    "src/portway/demo/programs.py": "tests/demo/test_demo stops and kills each program",
    "src/portway/demo/site_live.py": "tests/demo/test_site_app uses it like a browser",
    "src/portway/errors.py": "plain values",
    "src/portway/protocol/yamux/stream.py": "streams need a session: test_session and its fuzz test",
    "src/portway/edge/http/interfaces.py": "protocols without code",
    "src/portway/edge/tls/interfaces.py": "protocols without code",
    "src/portway/edge/http/edge.py": "all tests in its folder use the edge of kit.py",
    "src/portway/edge/http/exchange/exchange.py": "the same: requests and responses of all kinds, over real sockets",
    "src/portway/edge/http/visitor/connection.py": "the same: connections of all kinds, over real sockets",
    "src/portway/server/events.py": "plain values; test_console and test_status match on every one",
}
"""Modules that no test in the mirrored folder imports, with the reason. This list may only shrink."""


def test_no_tracked_file_names_a_folder_of_one_machine_or_a_registry() -> None:
    found = [f"{name_of(path)}: {word}" for path, text in texts() for word in MACHINE + REGISTRIES if word in text]

    assert found == []


def texts() -> Iterator[tuple[Path, str]]:
    """Yield every tracked file that is text."""
    for path in tracked():
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        yield path, text


def test_no_file_cites_a_page_outside_the_repository() -> None:
    cited = [f"{name_of(path)}: {found}" for path, text in texts() for found in re.findall(r"\bdesign(?:\.md)?,? ?§ ?[0-9.]+", text)]

    assert cited == [], "cite a decision (ADR 0004), a document or an RFC"


def test_every_cited_threat_is_explained_and_names_its_test() -> None:
    page = (ROOT / "docs" / "threats.md").read_text()
    explained = set(re.findall(r"(?m)^\| ([A-Z][0-9]+) \|", page))
    cited = {
        number
        for path, text in texts()
        if path.suffix != ".md"
        for several in re.findall(r"\bthreats ([A-Z][0-9]+(?:, [A-Z][0-9]+)*)", text)
        for number in several.split(", ")
    }
    proofs = re.findall(r"`(tests/[a-z0-9_/.]+)`", page)

    assert cited <= explained
    assert [name for name in proofs if not (ROOT / name).exists()] == []


def test_links_between_documents_exist() -> None:
    lost = [
        f"{name_of(path)}: {target}"
        for path, text in texts()
        if path.suffix == ".md"
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text)
        if not (path.parent / target).exists()
    ]

    assert lost == []


def heading_anchors(text: str) -> set[str]:
    """Return the anchors that GitHub gives the headings of a document."""
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in re.findall(r"(?m)^#+ (.*)$", text)}


def test_links_to_sections_have_a_heading() -> None:
    lost = [
        f"{name_of(path)}: {target}#{anchor}"
        for path, text in texts()
        if path.suffix == ".md"
        for target, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", text)
        if anchor not in heading_anchors((path.parent / target).read_text() if target else text)
    ]

    assert lost == []


def commands(group: click.Group = command_line, name: str = "portway") -> Iterator[tuple[str, click.Command]]:
    """Yield every command with its full name, groups included."""
    yield name, group
    for child in group.list_commands(context := click.Context(group)):
        command = group.get_command(context, child)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, f"{name} {child}")
        else:
            yield f"{name} {child}", command


def test_every_flag_and_code_is_explained_in_the_documents() -> None:
    documents = "\n".join(path.read_text() for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))])
    options = [one for _, command in commands() for one in command.params if isinstance(one, click.Option)]
    flags = {flag for one in options for flag in one.opts if flag.startswith("--")} - {"--version"}
    trouble, wire = ((ROOT / "docs" / name).read_text() for name in ("troubleshooting.md", "wire.md"))

    assert len(flags) > 50
    assert sorted(flag for flag in flags if not re.search(rf"(?<![\w-]){flag}(?![\w-])", documents)) == []
    assert sorted(code for code in ERROR_RESPONSES if f"`{code}`" not in trouble) == []
    assert sorted(code for code in DESCRIPTIONS if f"`{code}`" not in wire) == []


BANNED = (
    r"(?<!there )(is|are) no",
    r"nobody|somebody|anybody|everybody|whoever|whom?|his|him|he",
    r"tells?|told|hears?|heard|says?|said|wants?|knows?|owes?",
    r"turns? away|turned away|let go|gives? way|good-?bye|newcomers?|strangers?",
    r"(for )?so long|all the same|a second each|each way|both ways",
)
"""Words that no help text, error or first docstring of a module has (CONTRIBUTING, style guide)."""

BANNED_IN_HELP = (r"speaks?|beside|below|kept|keeps?|room|answers|answered",)


def help_texts() -> Iterator[tuple[str, str]]:
    for name, command in commands():
        yield f"{name} --help", command.get_help(click.Context(command, info_name=name))


def error_texts() -> Iterator[tuple[str, str]]:
    """Yield the texts of codes and error pages, and the literals in calls of error classes."""
    yield from (("src/portway/protocol/control/codes.py", text) for text in DESCRIPTIONS.values())
    for page in ERROR_RESPONSES.values():
        yield "src/portway/protocol/http1/error_responses.py", f"{page.title} {page.text} {page.next_step}"
    for path in modules():
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call) and re.search(r"(Error|BrokenChannel)$", ast.unparse(call.func)):
                parts = [node.value for node in ast.walk(call) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
                yield name_of(path), " ".join(parts)


def docstring_texts() -> Iterator[tuple[str, str]]:
    for path in modules():
        yield name_of(path), ast.get_docstring(ast.parse(path.read_text())) or ""


def found_in(texts: Iterator[tuple[str, str]], banned: tuple[str, ...]) -> list[str]:
    """Return each text with a banned word, except those of EXEMPT."""
    words = re.compile(rf"\b({'|'.join(banned)})\b", re.IGNORECASE)
    return [f"{where}: {found[0]!r} in {text[:120]!r}" for where, text in texts if where not in EXEMPT and (found := words.search(text))]


def test_texts_have_no_banned_words() -> None:
    assert found_in(help_texts(), BANNED + BANNED_IN_HELP) == []
    assert found_in(error_texts(), BANNED) == []
    assert found_in(docstring_texts(), BANNED) == []


EXEMPT = frozenset({"src/portway/protocol/control/codes.py"})
"""Modules whose texts are part of the golden vectors."""


def module_exists(name: str) -> bool:
    """Return whether a dotted name begins with a module, or is a package; what follows a module is an attribute."""
    folder = SOURCES
    for part in name.split(".")[1:]:
        if (folder / f"{part}.py").exists() or (part[0].isupper() and (folder / "__init__.py").exists()):
            return True
        folder /= part
    return folder.is_dir()


def test_names_of_modules_are_those_of_modules() -> None:
    """Renamed modules leave their old names in strings, comments and documents, where no tool finds them."""
    lost = set()
    for path, text in texts():
        if path.name == "CHANGELOG.md":
            continue
        dotted = re.findall(rf"(?<![\w./-])portway\.(?:{'|'.join(PACKAGES)})(?:\.[a-z_][a-z0-9_]*)*", text)
        files = re.findall(r"(?<![\w./-])((?:[a-z_0-9]+/)+[a-z_0-9]+\.py)\b", text)
        folders = re.findall(rf"`((?:{'|'.join(PACKAGES)})/[a-z_0-9/]+)`", text)
        lost |= {f"{name_of(path)}: {name}" for name in dotted if not module_exists(name)}
        lost |= {f"{name_of(path)}: {name}" for name in files if not any((root / name).exists() for root in (*ROOTS, path.parent))}
        lost |= {f"{name_of(path)}: {name}" for name in folders if not any((SOURCES / f"{name}{end}").exists() for end in ("", ".py"))}

    assert sorted(lost) == []


PACKAGES = sorted(folder.name for folder in SOURCES.iterdir() if (folder / "__init__.py").exists())
ROOTS = (ROOT, ROOT / "src", SOURCES, SOURCES / "server", SOURCES / "server" / "edge" / "http", ROOT / "tests", ROOT / "bench")
"""Folders that paths in comments and documents start from."""


def requirements(name: str) -> dict[str, str]:
    """Return package → version of one requirement file, whose every entry must be pinned and hashed."""
    entries: dict[str, str] = {}
    text = re.sub(r"(?m)^\s*#.*\n", "", (ROOT / "requirements" / f"{name}.txt").read_text())
    for entry in text.replace("\\\n", " ").splitlines():
        pinned = re.fullmatch(r"([a-z0-9.-]+)==([^ ;]+)(?: *;[^-]+(?:-[^-]+)*?)?((?: +--hash=sha256:[0-9a-f]{64})+) *", entry)
        assert pinned is not None, f"requirements/{name}.txt: not pinned by version and hash: {entry[:80]}"
        entries[pinned[1]] = pinned[2]
    return entries


@pytest.mark.parametrize("name", ["runtime", "server", "demo", "dev"])
def test_every_requirement_is_pinned_by_version_and_hash(name: str) -> None:
    assert len(requirements(name)) >= 3


def test_what_is_tested_is_what_is_installed() -> None:
    dev = requirements("dev")

    for name in ("runtime", "server", "demo"):
        assert requirements(name).items() <= dev.items()


def test_the_requirement_files_contain_all_required_packages() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    asked = {
        "runtime": project["project"]["dependencies"],
        "server": extras["server"],
        "demo": extras["demo"],
        "dev": [entry for entry in project["dependency-groups"]["dev"] if isinstance(entry, str)],
    }
    for name, wanted in asked.items():
        packages = {re.split(r"[\[<>=~ ]", entry)[0] for entry in wanted} - {"portway"}

        assert packages <= set(requirements(name)), f"run `make lock`: requirements/{name}.txt does not match pyproject.toml"


def test_every_decision_has_its_four_parts() -> None:
    records = sorted((ROOT / "docs" / "adr").glob("[0-9]*.md"))

    numbers = [path.name[:4] for path in records]
    assert len(set(numbers)) == len(numbers), "two decisions have the same number"
    for path in records:
        text = path.read_text()
        assert text.startswith(f"# {path.name[:4]} · "), name_of(path)
        for part in ("**Context.**", "**Decision.** We will", "**Consequences.**", "**Revisit when**"):
            assert part in text, f"{name_of(path)}: {part} is missing"
        assert path.name in (ROOT / "docs" / "adr" / "README.md").read_text(), f"{name_of(path)}: not in the list"
