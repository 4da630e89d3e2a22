"""TokenHub: an OpenAI-compatible gateway with prepaid billing, run by one program."""

__version__ = "0.1.0"
