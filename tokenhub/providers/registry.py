"""The name of an adapter in the catalogue, to the adapter."""

from collections.abc import Callable, Mapping

from tokenhub.call import Capability
from tokenhub.catalog.models import Credential, Provider, Region
from tokenhub.providers.adapter import Adapter, UpstreamRequest
from tokenhub.providers.anthropic import Anthropic
from tokenhub.providers.gemini import Gemini, GeminiEmbeddings
from tokenhub.providers.headers import headers
from tokenhub.providers.openai import OpenAI
from tokenhub.providers.openai_compatible import OpenAICompatible, OpenAICompatibleEmbeddings

ADAPTERS: Mapping[tuple[str, Capability], Callable[[Provider], Adapter]] = {
    ("openai", Capability.CHAT): OpenAI,
    ("openai", Capability.EMBEDDINGS): OpenAICompatibleEmbeddings,
    ("openai_compatible", Capability.CHAT): OpenAICompatible,
    ("openai_compatible", Capability.EMBEDDINGS): OpenAICompatibleEmbeddings,
    ("anthropic", Capability.CHAT): Anthropic,
    ("gemini", Capability.CHAT): Gemini,
    ("gemini", Capability.EMBEDDINGS): GeminiEmbeddings,
}
"""A provider with an address, auth or body of its own is one more row."""


def adapters_of(providers: Mapping[str, Provider]) -> Mapping[tuple[str, Capability], Adapter]:
    """Return the adapter of every provider and capability; made once for a catalogue."""
    return {
        (provider.id, capability): make(provider)
        for provider in providers.values()
        for (name, capability), make in ADAPTERS.items()
        if name == provider.adapter
    }


def models_request(provider: Provider, region: Region, credential: Credential) -> UpstreamRequest | None:
    """Return the request that lists a provider's models, the cheapest proof of a key; None where there is none."""
    if not provider.models_path:
        return None
    base_url = credential.base_url or region.base_url
    return UpstreamRequest(base_url + provider.models_path, headers(provider, credential), b"", method="GET")
