"""Make texts safe for a terminal: escape control characters, and characters that it cannot write."""

import codecs
import re
import sys
from io import TextIOWrapper

# Control characters, and characters that change the direction of writing.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_NAMED = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}
_NOT_ASCII = re.compile(r"[^\x00-\x7f]")
# Replacements of one character each, so that columns stay aligned.
_PLAIN = str.maketrans("✓✗·…─━│▏▎▍▌▋▊▉█", "+x..--|########")
_HANDLER = "orders_lakehouse.plain"
_ASCII = "orders_lakehouse_ascii"


def safe(text: str) -> str:
    """Return a text in one line, with control characters escaped."""
    return _CONTROL.sub(lambda match: _NAMED.get(match[0]) or _written_out(match[0]), text)


def safe_lines(text: str) -> str:
    """Return a text with control characters escaped; its lines stay lines."""
    return "\n".join(map(safe, text.split("\n")))


def safe_json(text: str, *, ascii_only: bool = False) -> str:
    """Return equal JSON with control characters, or all characters beyond ASCII, escaped."""
    # Outside of strings, JSON has only ASCII characters, and the line feed is its only control character.
    lines = (_CONTROL.sub(_json_escape, line) for line in text.split("\n"))
    escaped = "\n".join(lines)
    return _NOT_ASCII.sub(_json_escape, escaped) if ascii_only else escaped


def accept_every_character() -> None:
    """Let this process write plain signs or escapes for characters that its output encoding lacks."""
    codecs.register_error(_HANDLER, _replace)
    codecs.register(_ascii_codec)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            is_ascii = codecs.lookup(stream.encoding).name == "ascii"
            stream.reconfigure(encoding=_ASCII if is_ascii else None, errors=_HANDLER)


def _ascii_codec(name: str) -> codecs.CodecInfo | None:
    """Return ASCII under a name that click does not know, because click would replace ASCII by UTF-8."""
    if name != _ASCII:
        return None
    codec = codecs.lookup("ascii")
    return codecs.CodecInfo(
        codec.encode,
        codec.decode,
        codec.streamreader,
        codec.streamwriter,
        codec.incrementalencoder,
        codec.incrementaldecoder,
        name=_ASCII,
    )


def _replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end].translate(_PLAIN)
    return "".join(char if char.isascii() else _written_out(char) for char in text), error.end


def _written_out(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code <= 0xFF else character.encode("ascii", "backslashreplace").decode()


def _json_escape(match: re.Match[str]) -> str:
    units = match[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
