from pathlib import Path

from tests.transparency.documented import RULES
from tests.transparency.requests import all_requests
from tests.transparency.responses import all_replies
from tests.transparency.test_requests import CASES
from tests.transparency.test_responses import ASKED

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "http.md"


def test_each_allowed_difference_is_documented() -> None:
    lines = [line.removeprefix("| ") for line in DOCUMENT.read_text().splitlines()]

    missing = [rule.row for rule in RULES if not any(line.startswith(rule.row) for line in lines)]

    assert missing == []


def test_case_names_are_unique() -> None:
    names = [request.name for request in all_requests()] + [reply.name for reply in all_replies()]

    assert len(names) == len(set(names)) >= 300
    assert len(CASES) + len(ASKED) + len(all_replies()) >= 1000
