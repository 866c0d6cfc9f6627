"""Units and multipliers that may follow a number, and currencies that may precede it."""

from __future__ import annotations

import re
from collections.abc import Mapping

_SPELLINGS: Mapping[str, str] = {
    "km": "km kilometer kilometers kilometre kilometres",
    "m": "m meter meters metre metres",
    "cm": "cm centimeter centimeters centimetre centimetres",
    "mm": "mm millimeter millimeters millimetre millimetres",
    "mi": "mi mile miles",
    "yd": "yd yds yard yards",
    "ft": "ft foot feet",
    "in": "inch inches",
    "kg": "kg kgs kilogram kilograms kilo kilos",
    "g": "g gram grams",
    "mg": "mg milligram milligrams",
    "t": "tonne tonnes ton tons",
    "lb": "lb lbs",
    "oz": "oz ounce ounces",
    "l": "l L liter liters litre litres",
    "ml": "ml mL milliliter milliliters millilitre millilitres",
    "gal": "gal gallon gallons",
    "s": "s sec secs second seconds",
    "min": "min mins minute minutes",
    "h": "h hr hrs hour hours",
    "ms": "ms millisecond milliseconds",
    "day": "day days",
    "week": "week weeks",
    "month": "month months",
    "year": "yr yrs year years",
    "": "° deg degree degrees pound pounds",  # parsed but not compared: the unit is ambiguous
    "°C": "°C ℃",
    "°F": "°F ℉",
    "%": "% percent pct",
    "J": "J joule joules",
    "kJ": "kJ kilojoule kilojoules",
    "N": "N newton newtons",
    "W": "W watt watts",
    "kW": "kW kilowatt kilowatts",
    "kWh": "kWh",
    "V": "V volt volts",
    "Hz": "Hz hertz",
    "Pa": "Pa pascal pascals",
    "mol": "mol mole moles",
    "mph": "mph",
    "kph": "kph kmh",
    "am": "am a.m. AM A.M.",
    "pm": "pm p.m. PM P.M.",
    "$": "$ dollar dollars USD",
    "€": "€ euro euros EUR",
    "£": "£ GBP",
    "¥": "¥ yen JPY",
    "₹": "₹ rupee rupees INR",
    "¢": "¢ cent cents",
}
_UNITS = {spelling: unit for unit, spellings in _SPELLINGS.items() for spelling in spellings.split()}

MULTIPLIERS: Mapping[str, int] = {
    "dozen": 12,
    "hundred": 100,
    "thousand": 10**3,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
}

LETTER = r"A-Za-zÀ-ɏͰ-ϿЀ-ӿ"
"""Latin, Greek and Cyrillic letters. Digits next to them are part of the word."""

_NAME = "|".join(sorted(map(re.escape, _UNITS), key=len, reverse=True))
_ONE = rf"(?:{_NAME}|in(?=\^))(?![{LETTER}])(?:\^?\(?[23](?!\d)\)?)?"
UNIT = re.compile(rf" ?(?P<unit>{_ONE}(?: ?(?:/|per ) ?{_ONE})?)")
MULTIPLIER = re.compile(rf" (?P<word>{'|'.join(MULTIPLIERS)})(?![{LETTER}])")
ORDINAL = re.compile(rf"(?:st|nd|rd|th)(?![{LETTER}])")
CURRENCY = re.compile(r"(?:US|A|C|HK)?[$€£¥₹] ?|(?:USD|EUR|GBP|JPY|INR|Rs\.?|RM) ?(?=[\d.-])")


def short_unit(text: str) -> str | None:
    """Return the short form of a unit, or None if the word is ambiguous.

    'kilometers^(2)' gives 'km^2'; 'km per hour' gives 'km/h'.
    """
    parts = re.split(r" ?(?:/|per ) ?", text)
    return "/".join(_short(part) for part in parts) or None


def _short(text: str) -> str:
    name, exponent = re.fullmatch(r"(.*?)\^?\(?([23])?\)?", text).groups()  # type: ignore[union-attr]
    unit = _UNITS.get(name, name)
    return f"{unit}^{exponent}" if exponent else unit


def short_currency(text: str) -> str | None:
    """Return the symbol of a currency: '$' for 'US$' and 'USD'."""
    return _UNITS.get(text.strip().lstrip("USACHK") or text.strip(), _UNITS.get(text.strip()))
