"""Bytes as text: what is UTF-8 comes out as it is, and of everything else each bad byte can be told."""

import re

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orders_lakehouse.encoding import BAD_BYTE, decoded, text_of

# Postgres stores no zero byte, in no encoding.
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
BYTES = st.binary().map(lambda value: value.replace(b"\0", b"0"))


def of(*values: bytes | None) -> list[str | None]:
    return text_of(pl.Series("text", values, pl.Binary)).to_list()


@given(st.lists(st.none() | TEXT))
def test_text_in_utf8_comes_out_as_it_is(texts: list[str | None]) -> None:
    assert of(*(text if text is None else text.encode() for text in texts)) == texts


@given(st.lists(st.none() | TEXT), st.sampled_from(["latin-1", "cp1252", "utf-16-le", "euc_jp", "koi8_r"]))
def test_text_of_another_encoding_is_marked_unless_valid_utf8(texts: list[str | None], encoding: str) -> None:
    values = [text if text is None else text.encode(encoding, "ignore").replace(b"\0", b"0") for text in texts]
    for value, text in zip(values, of(*values), strict=True):
        if value is None:
            assert text is None
            continue
        try:
            assert text == value.decode()
        except UnicodeDecodeError:
            assert text is not None
            assert re.search(re.escape(BAD_BYTE) + "[0-9a-f]{2}", text)


@given(st.lists(st.none() | TEXT), st.sampled_from(["latin-1", "cp1252", "cp1251", "iso8859_2", "koi8_r"]))
def test_text_comes_out_as_it_is_in_its_own_encoding(texts: list[str | None], codec: str) -> None:
    known = [text if text is None else text.encode(codec, "ignore").decode(codec) for text in texts]
    values = pl.Series("text", [text if text is None else text.encode(codec) for text in known], pl.Binary)
    assert text_of(values, codec).to_list() == known


def test_undefined_byte_of_an_encoding_is_marked() -> None:
    # The second one would be UTF-8.
    values = pl.Series("text", [b"\x80 5\x81", "é".encode()], pl.Binary)
    assert text_of(values, "cp1252").to_list() == [f"€ 5{BAD_BYTE}81", "Ã©"]


@given(st.lists(st.none() | BYTES))
def test_bytes_can_be_recovered_from_their_text(values: list[bytes | None]) -> None:
    for value, text in zip(values, of(*values), strict=True):
        if value is None:
            assert text is None
        elif BAD_BYTE.encode() not in value:
            assert text is not None
            parts = re.split(re.escape(BAD_BYTE) + "([0-9a-f]{2})", text)
            parts[::2], digits = [part.encode() for part in parts[::2]], parts[1::2]
            parts[1::2] = [bytes.fromhex(of_byte) for of_byte in digits]
            assert b"".join(parts) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"Zo\xeb", f"Zo{BAD_BYTE}eb"),
        # Cut off within a character; a surrogate; longer than it need be; followed by what is right.
        (b"\xf0\x9f\x98", f"{BAD_BYTE}f0{BAD_BYTE}9f{BAD_BYTE}98"),
        (b"\xed\xa0\x80", f"{BAD_BYTE}ed{BAD_BYTE}a0{BAD_BYTE}80"),
        (b"\xc0\x80", f"{BAD_BYTE}c0{BAD_BYTE}80"),
        (b"\xff\xc3\xab", f"{BAD_BYTE}ffë"),
    ],
)
def test_each_bad_byte_is_marked_and_its_neighbours_stay(value: bytes, text: str) -> None:
    # What is cut off goes on with nothing of the next value.
    assert of(b"a", None, value, b"\x80b", "ë".encode()) == ["a", None, text, f"{BAD_BYTE}80b", "ë"]


def test_only_bytes_of_a_frame_are_decoded_in_place() -> None:
    frame = pl.DataFrame({"a": [b"\xff"], "b": [1], "c": ["text"], "d": [None]}, schema_overrides={"d": pl.Binary})
    found = decoded(frame)
    assert found.schema == {"a": pl.String, "b": pl.Int64, "c": pl.String, "d": pl.String}
    assert found.row(0) == (f"{BAD_BYTE}ff", 1, "text", None)
    assert decoded(frame.clear()).schema == found.schema
