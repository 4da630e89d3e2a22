"""The name of an adapter in the catalogue, to the adapter."""

from collections.abc import Callable, Mapping

from tokenhub.call import Wire
from tokenhub.catalog.models import Credential, Provider, Region
from tokenhub.providers.adapter import Adapter, UpstreamRequest
from tokenhub.providers.anthropic import Anthropic
from tokenhub.providers.gemini import Gemini, GeminiEmbeddings
from tokenhub.providers.headers import headers
from tokenhub.providers.openai import OpenAI
from tokenhub.providers.openai_compatible import OpenAICompatible, OpenAICompatibleEmbeddings

ADAPTERS: Mapping[tuple[str, Wire], Callable[[Provider], Adapter]] = {
    ("openai", Wire.CHAT): OpenAI,
    ("openai", Wire.EMBEDDINGS): OpenAICompatibleEmbeddings,
    ("openai_compatible", Wire.CHAT): OpenAICompatible,
    ("openai_compatible", Wire.EMBEDDINGS): OpenAICompatibleEmbeddings,
    ("anthropic", Wire.CHAT): Anthropic,
    ("gemini", Wire.CHAT): Gemini,
    ("gemini", Wire.EMBEDDINGS): GeminiEmbeddings,
}
"""A provider with an address, auth or body of its own is one more row."""


def adapters_of(providers: Mapping[str, Provider]) -> Mapping[tuple[str, Wire], Adapter]:
    """Return the adapter of every provider and wire; made once for a catalogue."""
    return {
        (provider.id, wire): make(provider)
        for provider in providers.values()
        for (name, wire), make in ADAPTERS.items()
        if name == provider.adapter
    }


def models_request(provider: Provider, region: Region, credential: Credential) -> UpstreamRequest | None:
    """Return the request that lists a provider's models, the cheapest proof of a key; None where there is none."""
    if not provider.models_path:
        return None
    base_url = credential.base_url or region.base_url
    return UpstreamRequest(base_url + provider.models_path, headers(provider, credential), b"", method="GET")
