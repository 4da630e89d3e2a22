"""Deployments made by hand, for tests of adapters."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tokenhub.call import Capability, Wire
from tokenhub.catalog.models import Credential, Deployment, Lifecycle, Model, Offering, Provider, Region, SpokenWire
from tokenhub.catalog.prices import PriceSchedule
from tokenhub.catalog.quirks import QUIRKS, TRAITS, filled

NO_PRICES = PriceSchedule(())


def provider(adapter: str = "openai_compatible", *, id: str = "maker", auth: str = "bearer", **quirks: Any) -> Provider:
    region = Region(id="default", base_url="https://api.example.com/v1", data_region="us")
    return Provider(
        id=id, name="Maker", adapter=adapter, regions={"default": region}, auth=auth, quirks=filled(QUIRKS, quirks)
    )


def speaking(by: Provider, wires: Mapping[Wire, SpokenWire]) -> Provider:
    """Return the provider with wires beside its adapter's own."""
    return replace(by, wires=wires)


def deployment(
    by: Provider | None = None,
    *,
    upstream_id: str = "upstream-model",
    base_url: str | None = None,
    max_output: int | None = None,
    modalities: tuple[str, ...] = ("text",),
    secret: str = "secret",
    body_fields: dict[str, Any] | None = None,
    capability: Capability = Capability.CHAT,
    **traits: Any,
) -> Deployment:
    by = by or provider()
    region = Region(
        id="default", base_url="https://api.example.com/v1", data_region="us", body_fields=body_fields or {}
    )
    offering = Offering(
        provider=by.id,
        regions=("default",),
        upstream_id=upstream_id,
        prices=NO_PRICES,
        lifecycle=Lifecycle.ACTIVE,
        context=None,
        max_output=max_output,
    )
    model = Model(
        id="model",
        name="Model",
        capability=capability,
        lifecycle=Lifecycle.ACTIVE,
        offerings=(offering,),
        input_modalities=modalities,
        traits=filled(TRAITS, traits),
    )
    credential = Credential(id=1, provider=by.id, region="default", label="one", secret=secret, base_url=base_url)
    return Deployment(
        model=model, provider=by, region=region, offering=offering, credential=credential, prices=NO_PRICES
    )
