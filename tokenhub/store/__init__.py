"""How it is kept: schema, both databases, the writer, leases and the vault. The only home of peewee and of SQL.

peewee loads every driver that is installed. psycopg, which SQLite has no use for, would take
0.17 s of every command and 9 MB of every process: peewee is loaded here as if there were none,
and ``postgres.py`` brings it along.
"""

import sys

if "psycopg" not in sys.modules:
    sys.modules["psycopg"] = None  # type: ignore[assignment]  # "not found" (docs.python.org/3/reference/import.html#the-module-cache)
    try:
        import peewee  # noqa: F401
    finally:
        del sys.modules["psycopg"]
