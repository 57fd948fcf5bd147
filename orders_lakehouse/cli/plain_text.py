"""Texts as a terminal may show them: no character that it would obey, none that it cannot write."""

import codecs
import re
import sys
from io import TextIOWrapper

# Control characters, and those that turn the direction of writing.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_NAMED = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}
_NOT_ASCII = re.compile(r"[^\x00-\x7f]")
# One character for one, so that columns stay in line.
_PLAIN = str.maketrans("✓✗·…─━│▏▎▍▌▋▊▉█", "+x..--|########")
_HANDLER = "orders_lakehouse.plain"
_ASCII = "orders_lakehouse_ascii"


def safe(text: str) -> str:
    """A text in one line, with the characters that a terminal would obey written out."""
    return _CONTROL.sub(lambda found: _NAMED.get(found[0]) or _written_out(found[0]), text)


def safe_lines(text: str) -> str:
    """The same for a text whose lines stay lines."""
    return "\n".join(map(safe, text.split("\n")))


def safe_json(text: str, *, ascii_only: bool = False) -> str:
    """JSON that means the same, with control characters, or all that is not ASCII, written out."""
    # Outside of strings JSON has no other control character than the line feed, and no other character than ASCII.
    lines = (_CONTROL.sub(_json_escape, line) for line in text.split("\n"))
    escaped = "\n".join(lines)
    return _NOT_ASCII.sub(_json_escape, escaped) if ascii_only else escaped


def accept_every_character() -> None:
    """Let this process's output write a plain sign, or an escape, for what its encoding does not have."""
    codecs.register_error(_HANDLER, _replace)
    codecs.register(_ascii_codec)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            is_ascii = codecs.lookup(stream.encoding).name == "ascii"
            stream.reconfigure(encoding=_ASCII if is_ascii else None, errors=_HANDLER)


def _ascii_codec(name: str) -> codecs.CodecInfo | None:
    """ASCII by a name that click does not know: it takes ASCII for a mistake, and writes UTF-8 instead."""
    if name != _ASCII:
        return None
    found = codecs.lookup("ascii")
    return codecs.CodecInfo(
        found.encode,
        found.decode,
        found.streamreader,
        found.streamwriter,
        found.incrementalencoder,
        found.incrementaldecoder,
        name=_ASCII,
    )


def _replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end].translate(_PLAIN)
    return "".join(one if one.isascii() else _written_out(one) for one in text), error.end


def _written_out(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code <= 0xFF else character.encode("ascii", "backslashreplace").decode()


def _json_escape(found: re.Match[str]) -> str:
    units = found[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
