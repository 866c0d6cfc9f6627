"""Default connection settings for a server; the URL and the environment override them."""

from __future__ import annotations

import os
import re
from typing import Any

from sqlalchemy.engine import URL

LIBPQ_DRIVERS = ("psycopg", "psycopg2")

CONNECTION: dict[str, int] = {
    "connect_timeout": 10,  # seconds; a machine that is down does not refuse the connection
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,  # milliseconds that sent data may stay unacknowledged
}
"""libpq parameters; the URL overrides them."""

UNITS_MS = {"us": 0.001, "ms": 1, "s": 1000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}


def connection_options(url: URL) -> dict[str, Any]:
    """Return the driver options that the URL does not set."""
    if url.get_driver_name() not in LIBPQ_DRIVERS:
        return {}
    return {
        name: value
        for name, value in CONNECTION.items()
        if name not in url.query and not (name == "connect_timeout" and "PGCONNECT_TIMEOUT" in os.environ)
    }


def user_setting_ms(url: URL, name: str) -> float | None:
    """Return a session timeout in milliseconds, from the URL's `options` or PGOPTIONS; None if unset."""
    options = url.query.get("options", os.environ.get("PGOPTIONS", ""))
    text = " ".join(options) if isinstance(options, tuple) else options
    found = re.findall(rf"(?:-c\s*|--){name.replace('_', '[_-]')}\s*=\s*'?(\d+)\s*(us|ms|s|min|h|d)?\b", text)
    if not found:
        return None
    number, unit = found[-1]
    return float(number) * UNITS_MS[unit or "ms"]
