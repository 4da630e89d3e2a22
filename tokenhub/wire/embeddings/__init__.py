"""Embeddings in OpenAI's form, and over Gemini's."""
