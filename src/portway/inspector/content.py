"""Decodes content codings for showing, within a bound: gzip and deflate, br and zstd if a library is installed."""

import importlib
import zlib
from collections.abc import Callable
from typing import NamedTuple

CODINGS_MAX = 3
"""Codings of one body; more are not decoded."""


_BETWEEN_BYTES = 64 * 1024
"""Beyond the bound, for what one coding leaves to the next."""


class Decoded(NamedTuple):
    """The result of decoding."""

    data: bytes
    complete: bool
    """False if there is more than the bound, or the input was cut."""
    error: str = ""
    """Why it cannot be decoded; then `data` is empty."""


def decode(data: bytes, codings: bytes, bytes_max: int, *, whole: bool = True) -> Decoded:
    """Return `data` without its content codings (a field's value in lower case), at most `bytes_max` bytes of it.

    `whole` is False if `data` is only the beginning of a body.
    """
    names = [name for item in codings.split(b",") if (name := item.strip()) not in (b"", b"identity")]
    if len(names) > CODINGS_MAX:
        return Decoded(b"", complete=False, error=f"{len(names)} content codings")
    complete = whole
    for name in reversed(names):
        decoder = _DECODERS.get(name)
        if decoder is None:
            return Decoded(b"", complete=False, error=f"unknown content coding {name.decode('latin-1')[:20]}")
        try:
            data, ended = decoder(data, bytes_max + _BETWEEN_BYTES)
        except ImportError:
            coding = name.decode("latin-1")
            return Decoded(b"", complete=False, error=f"content coding {coding}: install portway[inspect] to decode it")
        except (zlib.error, ValueError, RuntimeError, EOFError) as exc:
            return Decoded(b"", complete=False, error=f"invalid {name.decode('latin-1')}: {exc}")
        complete = complete and ended
    return Decoded(data[:bytes_max], complete and len(data) <= bytes_max)


def _gzip(data: bytes, bytes_max: int) -> tuple[bytes, bool]:
    decoder = zlib.decompressobj(wbits=47)
    found = decoder.decompress(data, bytes_max)
    return found, decoder.eof


def _deflate(data: bytes, bytes_max: int) -> tuple[bytes, bool]:
    """Decode zlib's format, or plain deflate, which some servers send under this name."""
    try:
        return _gzip(data, bytes_max)
    except zlib.error:
        decoder = zlib.decompressobj(wbits=-15)
        return decoder.decompress(data, bytes_max), decoder.eof


def _brotli(data: bytes, bytes_max: int) -> tuple[bytes, bool]:
    brotli = importlib.import_module("brotli")
    decoder = brotli.Decompressor()
    try:
        found: bytes = decoder.process(data, output_buffer_limit=bytes_max)
    except brotli.error as exc:
        raise ValueError(str(exc)) from exc
    return found, bool(decoder.is_finished())


def _zstd(data: bytes, bytes_max: int) -> tuple[bytes, bool]:
    zstandard = importlib.import_module("zstandard")
    try:
        with zstandard.ZstdDecompressor(max_window_size=8 * 1024 * 1024).stream_reader(data) as reader:
            found: bytes = reader.read(bytes_max)
            return found, not reader.read(1)
    except zstandard.ZstdError as exc:
        raise ValueError(str(exc)) from exc


_DECODERS: dict[bytes, Callable[[bytes, int], tuple[bytes, bool]]] = {
    b"gzip": _gzip,
    b"x-gzip": _gzip,
    b"deflate": _deflate,
    b"br": _brotli,
    b"zstd": _zstd,
}
