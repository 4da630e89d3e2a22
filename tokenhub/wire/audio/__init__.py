"""Speech and transcriptions in OpenAI's form."""
