"""``tokenhub init``: make a home."""

from tokenhub.cli.context import Door, command, verb

app = verb("init")


@command(app, "init", examples=["tokenhub init", "tokenhub init --home /srv/tokenhub"])
def init(door: Door) -> None:
    """Make a home: config.toml, the database and the master key, readable by you alone.

    What is there already is kept, and a whole home stays as it is. With TOKENHUB_DATABASE_URL in the environment, or database.url in
    config.toml, the tables are made in PostgreSQL.
    """
    from tokenhub.operations.hub import Hub

    with Hub.init_or_open(door.home) as hub:
        kind = {"sqlite": "SQLite", "postgres": "PostgreSQL"}[hub.database.kind]
        made = {"home": str(hub.home.path), "database": hub.database.kind, "instance": hub.instance, "new": hub.is_new}
        if not hub.is_new:
            door.done(made, f"A TokenHub home is at {hub.home.path} already, on {kind}. What was there is kept.")
            return
        door.done(
            made,
            f"A new TokenHub home is at {hub.home.path}, on {kind}.",
            f"Keep a copy of {hub.home.master_key}: without it the providers' keys in the database cannot be opened.",
            "Next: tokenhub accounts create NAME, or just: tokenhub serve",
        )
