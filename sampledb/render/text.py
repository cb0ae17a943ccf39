"""Text from malware, made safe to show."""


def escape_unprintable(text: str) -> str:
    """Replace unprintable characters by Python's escapes.

    What is left can neither control a terminal nor hide or reverse the text around it.
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def escape_lines(text: str) -> list[str]:
    """Split text into lines and escape each."""
    return [escape_unprintable(line) for line in text.splitlines()]
