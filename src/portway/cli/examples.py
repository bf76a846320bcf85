"""The examples below every command's options."""


def examples(*pairs: tuple[str, str]) -> str:
    """Return the end of a help text: each command line, and below it what it does."""
    lines = [line for command, meaning in pairs for line in (f"  {command}", f"      {meaning}")]
    return "\n".join(["\b", "Examples:", *lines])  # \b keeps click from joining the lines
