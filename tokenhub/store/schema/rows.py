"""What every table is made of."""

from peewee import DatabaseProxy, Model

from tokenhub.money import MAX_NANO

proxy = DatabaseProxy()

AMOUNT = f"BETWEEN -{MAX_NANO} AND {MAX_NANO}"
"""Amounts stay far enough inside 64 bits that the sum of two cannot leave them (T16)."""


class Row(Model):
    class Meta:
        database = proxy
        strict_tables = True
        legacy_table_names = False
