"""OpenAI chat completions, the form in which a chat call travels inside, and how it is said to upstreams with another."""
