"""Code lists that contracts refer to: currencies (ISO 4217), countries (ISO 3166-1), aliases of their codes.

The lists are files of the project, so that no installed package decides which rows pass. Every code ever listed is
valid; outside of its dates it warns. `currencies.csv` is the ISO list of 2026-01-01, with withdrawn codes and dates
from CLDR 48; `countries.csv` is ISO 3166-1, with withdrawn codes from ISO 3166-3; `aliases.csv` has other codes that
shops use.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from importlib import resources


@dataclass(frozen=True)
class Code:
    """An entry of a code list.

    Attributes:
        code: The code.
        name: Name in English.
        minor_units: Decimals of an amount in a currency; None in a list of countries.
        valid_from: First date on which the code was valid; None where the list does not say.
        valid_to: Last date on which the code was valid; None while it is.
    """

    code: str
    name: str
    minor_units: int | None
    valid_from: date | None
    valid_to: date | None

    def __str__(self) -> str:
        """Return everything that decides which rows pass, in a line."""
        decimals = [] if self.minor_units is None else [f"{self.minor_units} decimals"]
        since = [f"from {self.valid_from}"] if self.valid_from else []
        until = [f"to {self.valid_to}"] if self.valid_to else []
        return " ".join([*decimals, *since, *until]) or "listed"


def _rows(name: str) -> list[dict[str, str]]:
    text = resources.files(__name__).joinpath(name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def _date(text: str | None) -> date | None:
    return date.fromisoformat(text) if text else None


def _listed(name: str) -> dict[str, Code]:
    return {
        row["code"]: Code(
            row["code"],
            row["name"],
            int(row["minor_units"]) if "minor_units" in row else None,
            _date(row.get("valid_from")),
            _date(row["valid_to"]),
        )
        for row in _rows(name)
    }


def _aliases(list_name: str) -> dict[str, str]:
    return {row["alias"]: row["code"] for row in _rows("aliases.csv") if row["list"] == list_name}


CURRENCIES: Mapping[str, Code] = _listed("currencies.csv")
COUNTRIES: Mapping[str, Code] = _listed("countries.csv")
CURRENCY_ALIASES: Mapping[str, str] = _aliases("currencies")
COUNTRY_ALIASES: Mapping[str, str] = _aliases("countries")
# Codes and aliases by the list's name in a column's metadata.
CODE_LISTS: Mapping[str, tuple[Mapping[str, Code], Mapping[str, str]]] = {
    "currencies": (CURRENCIES, CURRENCY_ALIASES),
    "countries": (COUNTRIES, COUNTRY_ALIASES),
}
# Most decimals that an amount can have, for currencies without a defined number, and decimals of most currencies.
MOST_MINOR_UNITS = 4
USUAL_MINOR_UNITS = 2


def currencies_with(minor_units: int) -> list[str]:
    """Return the codes of the currencies whose amounts have a number of decimals, in order."""
    return [code for code, currency in CURRENCIES.items() if currency.minor_units == minor_units]
