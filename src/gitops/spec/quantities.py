"""Kubernetes' quantities: their grammar, what they amount to, and the form in which the API server keeps them.

The rules are those of apimachinery's `resource.Quantity`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction

QUANTITY_PATTERN = r"^\+?(\d+(\.\d*)?|\.\d+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?\d{1,2})?$"
"""Without the sign `-`: nothing here can be less than nothing."""
_PARTS = re.compile(r"\+?([0-9.]+)(?:([KMGTPE]i|[numkMGTPE])|([eE])([+-]?\d{1,2}))?")
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
_BY_EXPONENT = {exponent: suffix for suffix, exponent in _DECIMAL.items()}
_LONGEST = 32


def amount(quantity: str) -> Fraction:
    """What a quantity of QUANTITY_PATTERN amounts to: CPUs, or bytes."""
    number, suffix, exponent, power = _parts(quantity)
    if suffix in _BINARY[1:]:
        return Fraction(number) * (1 << 10 * _BINARY.index(suffix))
    return Fraction(number) * _ten_to(int(power) if exponent else _DECIMAL[suffix])


def canonical(quantity: str) -> str:
    """The same quantity as the API server writes it: `2000m` gives `2`, `1.5Gi` gives `1536Mi`."""
    whole = amount(quantity)
    _, suffix, exponent, _ = _parts(quantity)
    if suffix in _BINARY[1:] and whole >= 1024 and whole.denominator == 1:
        number, times = int(whole), 0
        while number % 1024 == 0 and times + 1 < len(_BINARY):
            number, times = number // 1024, times + 1
        return f"{number}{_BINARY[times]}"
    return _decimal(whole, exponent="e" if exponent else "")


def _parts(quantity: str) -> tuple[str, str, str, str]:
    match = _PARTS.fullmatch(quantity)
    assert match, f"{quantity!r} is no quantity"
    number, suffix, exponent, power = match.groups()
    return number.removesuffix("."), suffix or "", exponent or "", power or ""


def _ten_to(power: int) -> Fraction:
    return Fraction(10**power) if power >= 0 else Fraction(1, 10**-power)


def _decimal(whole: Fraction, exponent: str) -> str:
    """The largest power of a thousand that leaves a whole number, none finer than a billionth."""
    power = 18
    while power > -9 and (whole / _ten_to(power)).denominator != 1:
        power -= 3
    number = -(-whole // _ten_to(power))
    if not number:
        return "0"
    if exponent:
        return f"{number}e{power}" if power else str(number)
    return f"{number}{_BY_EXPONENT[power]}"


def quantity(noun: str, form: str, least: str, most: str, finest: str) -> Callable[[object], object]:
    """A validator that gives the canonical form, or a ValueError that says what is wrong.

    Numbers are taken for text. `finest` is what a quantity has to be a multiple of.
    """
    pattern = re.compile(QUANTITY_PATTERN)

    def check(value: object) -> object:
        text = str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value
        if not isinstance(text, str) or len(text) > _LONGEST or not pattern.match(text):
            raise ValueError(f"{value!r} is not {noun}; {form}")
        whole = amount(text)
        if not amount(least) <= whole <= amount(most):
            raise ValueError(f"{value!r} is out of range; from {least} to {most}, such as {form.rpartition(' ')[2]}")
        if (whole / amount(finest)).denominator != 1:
            raise ValueError(f"{value!r} is not a multiple of {finest}; {form}")
        return canonical(text)

    return check
