"""A door: the HTTP server. One request is read from top to bottom in ``exchange``."""
