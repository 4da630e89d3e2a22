"""Anthropic Messages: as an upstream speaks it, and as clients do."""
