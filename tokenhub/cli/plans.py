"""``tokenhub plans``: what accounts buy."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from tokenhub.cli import values
from tokenhub.cli.context import Door, command, noun
from tokenhub.cli.tables import Column

if TYPE_CHECKING:
    from tokenhub.accounts.accounts import Plan

app = noun("plans")

Name = Annotated[str, typer.Argument(metavar="NAME", help="The plan's name, such as starter.")]
FeeBp = Annotated[
    Any,
    typer.Option(
        "--fee-bp",
        metavar="BP",
        parser=values.whole(0, 10_000),
        help="Service fee in hundredths of a per cent (300 = 3 %).",
        show_default=False,
    ),
]
Rpm = Annotated[
    Any,
    typer.Option(
        "--rpm", metavar="N", parser=values.whole(1), help="Requests a minute for each key.", show_default=False
    ),
]
AccountRpm = Annotated[
    Any,
    typer.Option(
        "--account-rpm",
        metavar="N",
        parser=values.whole(1),
        help="Requests a minute for all keys of an account.",
        show_default=False,
    ),
]
Concurrency = Annotated[
    Any,
    typer.Option(
        "--concurrency", metavar="N", parser=values.whole(1), help="Requests of an account at once.", show_default=False
    ),
]
ModelName = Annotated[
    Any,
    typer.Option(
        "--model-name",
        metavar="NAME=A,B",
        parser=values.pair,
        help="A model name of the plan's own, for these models in this order. May be given several times.",
        show_default=False,
    ),
]
Support = Annotated[
    str | None, typer.Option("--support", metavar="TEXT", help="What support it comes with.", show_default=False)
]
Sla = Annotated[
    str | None, typer.Option("--sla", metavar="TEXT", help="What availability it promises.", show_default=False)
]
Compliance = Annotated[
    str | None,
    typer.Option(
        "--compliance",
        metavar="TEXT",
        help="What it promises of where and by whom requests are served.",
        show_default=False,
    ),
]

COLUMNS = (
    Column("name", "Name"),
    Column("fee_bp", "Service fee", right=True),
    Column("key_rpm", "Requests/min per key", right=True),
    Column("account_rpm", "Requests/min in all", right=True),
    Column("concurrency", "At once", right=True),
    Column("model_names", "Model names", spare=True),
)
FIELDS = (
    *COLUMNS,
    Column("support", "Support"),
    Column("sla", "Availability"),
    Column("compliance", "Compliance"),
)


def row(plan: "Plan") -> dict[str, Any]:
    """Return a plan as it is shown."""
    return {
        "name": plan.id,
        "fee_bp": plan.fee_bp,
        "key_rpm": plan.key_rpm,
        "account_rpm": plan.account_rpm,
        "concurrency": plan.concurrency,
        "model_names": {name: list(targets) for name, targets in plan.model_names.items()},
        "support": plan.support,
        "sla": plan.sla,
        "compliance": plan.compliance,
    }


@command(app, "list", examples=["tokenhub plans list"])
def list_(door: Door) -> None:
    """List every plan."""
    from tokenhub.operations import plans

    door.rows(
        [row(plan) for plan in plans.listing(door.hub)],
        COLUMNS,
        empty="There is no plan. Add one: tokenhub plans create NAME",
    )


@command(app, examples=["tokenhub plans show pro"])
def show(door: Door, name: Name) -> None:
    """Show one plan."""
    from tokenhub.operations import plans

    door.record(row(plans.show(door.hub, name)), FIELDS)


@command(
    app,
    "set",
    examples=[
        "tokenhub plans set pro --fee-bp 150 --rpm 500",
        "tokenhub plans set starter --model-name starter/fast=gpt-4o-mini,local/smollm2-135m",
        "tokenhub plans set starter --drop-model-name starter/fast",
        "tokenhub plans set enterprise --sla '99.95 % of minutes in a month.' --compliance 'Requests stay in the EU.'",
    ],
)
def set_(
    door: Door,
    name: Name,
    fee_bp: FeeBp = None,
    rpm: Rpm = None,
    account_rpm: AccountRpm = None,
    concurrency: Concurrency = None,
    model_name: Annotated[list[Any] | None, *ModelName.__metadata__] = None,
    drop_model_name: Annotated[
        list[str] | None,
        typer.Option(
            "--drop-model-name",
            metavar="NAME",
            help="Take a model name back. May be given several times.",
            show_default=False,
        ),
    ] = None,
    support: Support = None,
    sla: Sla = None,
    compliance: Compliance = None,
) -> None:
    """Change a plan; binds the next request of every account on it."""
    from tokenhub.operations import keys, plans

    changes = values.changes(
        fee_bp=fee_bp, key_rpm=rpm, account_rpm=account_rpm, concurrency=concurrency,
        support=support, sla=sla, compliance=compliance,
    )  # fmt: skip
    plan = plans.change(
        door.hub, name, changes, model_names=_model_names(model_name), dropped_names=tuple(drop_model_name or ())
    )
    messages = [f"Plan {name} is changed."]
    gone = set(drop_model_name or ()) - set(plan.model_names)
    if held := [state.key.id for state in keys.limited_to(door.hub, plan.id, gone)]:
        messages.append(
            f"Still limited to what was dropped: {', '.join(held)}. Change them: tokenhub keys set ID --models A,B"
        )
    door.done(row(plan), *messages)


def _model_names(pairs: list[Any] | None) -> dict[str, tuple[str, ...]]:
    return {name: tuple(target.strip() for target in targets.split(",")) for name, targets in pairs or ()}


@command(app, examples=["tokenhub plans create team --fee-bp 250 --rpm 120 --account-rpm 1200 --concurrency 100"])
def create(
    door: Door,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Lower-case letters, digits, - and _.")],
    fee_bp: FeeBp = None,
    rpm: Rpm = None,
    account_rpm: AccountRpm = None,
    concurrency: Concurrency = None,
    model_name: Annotated[list[Any] | None, *ModelName.__metadata__] = None,
    support: Support = None,
    sla: Sla = None,
    compliance: Compliance = None,
) -> None:
    """Add a plan; what is not given is as in Starter."""
    from dataclasses import replace

    from tokenhub.operations import default_plans, plans

    given = values.changes(
        fee_bp=fee_bp, key_rpm=rpm, account_rpm=account_rpm, concurrency=concurrency,
        support=support, sla=sla, compliance=compliance,
    )  # fmt: skip
    plan = plans.create(
        door.hub, replace(default_plans.DEFAULTS[0], id=name, model_names=_model_names(model_name), **given)
    )
    door.done(row(plan), f"Plan {name} is there. Put an account on it: tokenhub accounts set NAME --plan {name}")
