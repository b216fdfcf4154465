"""Bech32, the text format of age's keys (BIP 173, without its limit of the length)."""

from collections.abc import Iterable, Sequence

_ALPHABET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_GENERATOR = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_CHECKSUM = 6


def encode(prefix: str, data: bytes) -> str:
    """Returns the text of data, in lower case."""
    values = _regroup(data, 8, 5, pad=True)
    checksum = _compute_checksum([*_expand(prefix), *values, *[0] * _CHECKSUM]) ^ 1
    digits = [*values, *((checksum >> 5 * (_CHECKSUM - 1 - index)) & 31 for index in range(_CHECKSUM))]
    return prefix + "1" + "".join(_ALPHABET[digit] for digit in digits)


def decode(prefix: str, text: str) -> bytes:
    """Returns the data of a text with this prefix. Raises ValueError."""
    if text not in {text.lower(), text.upper()} or not text.lower().startswith(f"{prefix}1"):
        raise ValueError("not bech32 text with the expected prefix")
    values = [_ALPHABET.index(character) for character in text.lower().removeprefix(f"{prefix}1")]
    if len(values) < _CHECKSUM or _compute_checksum([*_expand(prefix), *values]) != 1:
        raise ValueError("the checksum is wrong")
    return bytes(_regroup(values[:-_CHECKSUM], 5, 8, pad=False))


def _expand(prefix: str) -> Sequence[int]:
    return [*(ord(character) >> 5 for character in prefix), 0, *(ord(character) & 31 for character in prefix)]


def _compute_checksum(values: Iterable[int]) -> int:
    checksum = 1
    for value in values:
        top = checksum >> 25
        checksum = (checksum & 0x1FFFFFF) << 5 ^ value
        for index, generator in enumerate(_GENERATOR):
            checksum ^= generator if top >> index & 1 else 0
    return checksum


def _regroup(values: Iterable[int], size: int, new_size: int, *, pad: bool) -> list[int]:
    """Converts groups of bits to groups of another size. Raises ValueError if the padding is not zero."""
    bits = "".join(f"{value:0{size}b}" for value in values)
    rest = len(bits) % new_size
    if pad:
        bits += "0" * (-len(bits) % new_size)
    elif rest >= size or "1" in bits[len(bits) - rest :]:
        raise ValueError("the padding is invalid")
    return [int(bits[start : start + new_size], 2) for start in range(0, len(bits) - new_size + 1, new_size)]
