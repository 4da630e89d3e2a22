"""OpenAI Responses: as clients speak it, over chat or as it is."""
