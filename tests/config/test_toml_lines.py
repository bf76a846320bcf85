"""The line of a key in a TOML text."""

import pytest

from portway.config.toml_lines import line_of

TEXT = """\
# [tunnels.no]
[agent]
drain = "3s"

[tunnels.blog]   # comment
target = "3000"
"max_rate" = "1mb"
nested.key = 1

  [ tunnels . "two words" ]
  target="[tunnels.blog]"

[[list]]
a = 1
"""


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (["agent"], 2),
        (["tunnels"], 5),
        (["agent", "drain"], 3),
        (["tunnels", "blog"], 5),
        (["tunnels", "blog", "target"], 6),
        (["tunnels", "blog", "max_rate"], 7),
        (["tunnels", "blog", "nested", "key"], 8),
        (["tunnels", "two words", "target"], 11),
        (["list", "a"], 14),
        (["tunnels", "blog", "missing"], 5),
        (["tunnels", "no"], 0),
        (["server"], 0),
    ],
)
def test_the_line_is_that_of_the_key_or_of_the_table_it_belongs_to(path: list[str], line: int) -> None:
    assert line_of(TEXT, path) == line
