"""The history of the schema: ``NNNN_name.py``, run in order, each with ``up(migrator, db)``.

A file is never changed once released: it rebuilds the past, whatever ``schema/`` says
today. An upgrade runs all files that a database has not had, in one transaction
(``store/migrate.py``).
"""
