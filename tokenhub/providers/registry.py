"""The name of an adapter in the catalogue, to the adapter."""

from collections.abc import Callable, Mapping

from tokenhub.call import Wire
from tokenhub.catalog.models import Credential, Provider, Region
from tokenhub.providers.adapter import Adapter, UpstreamRequest
from tokenhub.providers.anthropic import Anthropic
from tokenhub.providers.completions import OpenAICompatibleCompletions
from tokenhub.providers.dashscope_images import DashScopeImages
from tokenhub.providers.dashscope_videos import DashScopeVideos
from tokenhub.providers.gemini import Gemini, GeminiEmbeddings
from tokenhub.providers.gemini_images import GeminiImages
from tokenhub.providers.gemini_videos import GeminiVideos
from tokenhub.providers.headers import headers
from tokenhub.providers.moderations import OpenAICompatibleModerations
from tokenhub.providers.native_gemini import NativeGemini
from tokenhub.providers.native_messages import NativeMessages
from tokenhub.providers.native_responses import NativeResponsesAdapter
from tokenhub.providers.openai import OpenAI
from tokenhub.providers.openai_audio import OpenAICompatibleSpeech, OpenAICompatibleTranscriptions
from tokenhub.providers.openai_compatible import OpenAICompatible, OpenAICompatibleEmbeddings
from tokenhub.providers.openai_images import OpenAIImages
from tokenhub.providers.openai_videos import OpenAIVideos
from tokenhub.providers.rerank import DashScopeRerank, Rerank
from tokenhub.providers.zhipu_images import ZhipuImages
from tokenhub.providers.zhipu_videos import ZhipuVideos

ADAPTERS: Mapping[tuple[str, Wire], Callable[[Provider], Adapter]] = {
    ("openai", Wire.CHAT): OpenAI,
    ("openai", Wire.RESPONSES): NativeResponsesAdapter,
    ("openai", Wire.COMPLETIONS): OpenAICompatibleCompletions,
    ("openai", Wire.EMBEDDINGS): OpenAICompatibleEmbeddings,
    ("openai", Wire.IMAGES): OpenAIImages,
    ("openai", Wire.SPEECH): OpenAICompatibleSpeech,
    ("openai", Wire.TRANSCRIPTIONS): OpenAICompatibleTranscriptions,
    ("openai", Wire.MODERATIONS): OpenAICompatibleModerations,
    ("openai_compatible", Wire.CHAT): OpenAICompatible,
    ("openai_compatible", Wire.RESPONSES): NativeResponsesAdapter,
    ("openai_compatible", Wire.MESSAGES): NativeMessages,
    ("openai_compatible", Wire.GEMINI): NativeGemini,
    ("openai_compatible", Wire.COMPLETIONS): OpenAICompatibleCompletions,
    ("openai_compatible", Wire.EMBEDDINGS): OpenAICompatibleEmbeddings,
    ("openai_compatible", Wire.IMAGES): OpenAIImages,
    ("openai_compatible", Wire.VIDEOS): OpenAIVideos,
    ("openai_compatible", Wire.SPEECH): OpenAICompatibleSpeech,
    ("openai_compatible", Wire.TRANSCRIPTIONS): OpenAICompatibleTranscriptions,
    ("openai_compatible", Wire.MODERATIONS): OpenAICompatibleModerations,
    ("openai_compatible", Wire.RERANK): Rerank,
    ("anthropic", Wire.CHAT): Anthropic,
    ("anthropic", Wire.MESSAGES): NativeMessages,
    ("gemini", Wire.CHAT): Gemini,
    ("gemini", Wire.GEMINI): NativeGemini,
    ("gemini", Wire.EMBEDDINGS): GeminiEmbeddings,
    ("gemini", Wire.IMAGES): GeminiImages,
    ("gemini", Wire.VIDEOS): GeminiVideos,
    ("dashscope", Wire.IMAGES): DashScopeImages,
    ("dashscope", Wire.VIDEOS): DashScopeVideos,
    ("dashscope", Wire.RERANK): DashScopeRerank,
    ("zhipu", Wire.IMAGES): ZhipuImages,
    ("zhipu", Wire.VIDEOS): ZhipuVideos,
}
"""A provider with an address, auth or body of its own is one more row."""


def adapters_of(providers: Mapping[str, Provider]) -> Mapping[tuple[str, Wire], Adapter]:
    """Return the adapter of every provider and wire; made once for a catalogue."""
    return {
        (provider.id, wire): make(provider)
        for provider in providers.values()
        for (name, wire), make in ADAPTERS.items()
        if name == _adapter_of(provider, wire)
    }


def _adapter_of(provider: Provider, wire: Wire) -> str:
    spoken = provider.wires.get(wire)
    return (spoken.adapter if spoken else "") or provider.adapter


def models_request(provider: Provider, region: Region, credential: Credential) -> UpstreamRequest | None:
    """Return the request that lists a provider's models, the cheapest proof of a key; None where there is none."""
    if not provider.models_path:
        return None
    base_url = credential.base_url or region.base_url
    return UpstreamRequest(base_url + provider.models_path, headers(provider, credential), b"", method="GET")
