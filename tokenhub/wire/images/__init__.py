"""Images: OpenAI's surface, and what each provider makes of it."""
