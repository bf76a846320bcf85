"""Formats the examples at the end of each command's help."""


def examples(*pairs: tuple[str, str]) -> str:
    """Return the epilog of a help text: each command line with its meaning below it."""
    lines = [line for command, meaning in pairs for line in (f"  {command}", f"      {meaning}")]
    return "\n".join(["\b", "Examples:", *lines])  # \b keeps click from joining the lines
