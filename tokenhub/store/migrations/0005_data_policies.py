"""Data policies: what the operator's own agreement with a provider says of the data of requests, by credential."""

from typing import Any


def up(_migrator: object, db: Any) -> None:
    """Add the column."""
    db.execute_sql(
        "ALTER TABLE credentials ADD COLUMN data_policy TEXT "
        "CHECK (data_policy IN ('no_training', 'no_retention', 'unknown'))"
    )
