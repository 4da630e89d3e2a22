"""How it is kept: schema, both databases, the writer, leases and the vault. The only home of peewee and of SQL."""
