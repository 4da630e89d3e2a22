"""A door: the command line. It parses, calls one operation, and shows what came of it."""
