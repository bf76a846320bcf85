from portway.cli.examples import examples


def test_each_command_line_is_followed_by_its_meaning() -> None:
    assert examples(("portway a", "does a"), ("portway b", "does b")).splitlines() == [
        "\b", "Examples:", "  portway a", "      does a", "  portway b", "      does b",
    ]  # fmt: skip
