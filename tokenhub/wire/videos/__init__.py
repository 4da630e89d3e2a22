"""Videos: OpenAI's surface, whose jobs outlive their requests."""
