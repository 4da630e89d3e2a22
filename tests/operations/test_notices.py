"""Notices from the outbox to a mail server and to a web server, both real, and what happens when those are not there."""

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.authority import Authority
from tests.fakes.mail_server import MailServer
from tests.fakes.upstream import Cut, FakeUpstream, Received, Reply, head, json_reply
from tokenhub import clock
from tokenhub.billing import notices as rules
from tokenhub.billing import signatures
from tokenhub.billing.notices import NoticeKind
from tokenhub.billing.payments import EVENT_TYPES
from tokenhub.operations import accounts, grants, notices, secrets, subscriptions
from tokenhub.operations.findings import Health
from tokenhub.operations.hub import Hub
from tokenhub.store import notices as store

SECRET = "a-secret-of-the-receiver"
FACTS = {
    "topup": "topup_1",
    "amount": "20.00",
    "currency": "usd",
    "reason": "the card was declined",
    "card": "visa 4242",
}


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    """An authority that this process believes."""
    made = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(made.file))
    return made


@pytest.fixture
def taker() -> Iterator[FakeUpstream]:
    """A web server that takes every notice."""
    with FakeUpstream(lambda _request: json_reply({})) as server:
        yield server


def told(hub: Hub, **options: Any) -> Hub:
    """The same hub with other settings."""
    return replace(hub, settings=replace(hub.settings, **options))


def mailing(hub: Hub, server: MailServer, **options: Any) -> Hub:
    given = {
        "smtp_host": "127.0.0.1",
        "smtp_port": server.port,
        "smtp_security": "none",
        "smtp_from": "hub@example.com",
    }
    return told(hub, **given | options)


def acme(hub: Hub, email: str | None = "pay@acme.example") -> int:
    return accounts.create(hub, "acme", email=email).account.id


def decline(hub: Hub, account_id: int, ref: str = "topup_1") -> int:
    return notices.tell(hub, NoticeKind.CARD_DECLINED, ref, account_id, FACTS)


def states(hub: Hub) -> list[tuple[Any, ...]]:
    return hub.database.rows("SELECT channel, target, state, tries FROM notices ORDER BY id")


def reasons(hub: Hub) -> list[str]:
    return [reason for (reason,) in hub.database.rows("SELECT reason FROM notices ORDER BY id")]


def send(hub: Hub, later_ms: int = 0) -> None:
    notices.work(hub, clock.now_ms() + later_ms)


# ---- the outbox


def test_a_notice_goes_to_the_account_the_operator_and_the_webhook(hub: Hub) -> None:
    hub = told(
        hub, smtp_host="mail.example.com", notices_email="ops@hub.example", notices_webhook_url="https://hook.example/x"
    )
    account_id = acme(hub)
    assert decline(hub, account_id) == 3
    assert {(channel, target) for channel, target, *_ in states(hub)} == {
        ("webhook", "https://hook.example/x"),
        ("email", "ops@hub.example"),
        ("email", "pay@acme.example"),
    }


def test_what_only_the_operator_can_mend_is_not_told_to_the_customer(hub: Hub) -> None:
    hub = told(hub, smtp_host="mail.example.com", notices_email="ops@hub.example")
    notices.tell(hub, NoticeKind.TOPUP_REVIEW, "topup_1", acme(hub), FACTS)
    assert [target for _, target, *_ in states(hub)] == ["ops@hub.example"]


def test_the_same_occasion_is_told_once_and_the_same_address_once(hub: Hub) -> None:
    hub = told(hub, smtp_host="mail.example.com", notices_email="pay@acme.example")
    account_id = acme(hub)
    assert [decline(hub, account_id) for _ in range(3)] == [1, 0, 0]
    assert decline(hub, account_id, "topup_2") == 1


def test_without_a_way_to_tell_there_is_nothing_to_send(hub: Hub) -> None:
    assert decline(hub, acme(hub)) == 0
    assert states(hub) == []


def test_a_notice_and_its_change_are_one_transaction(hub: Hub) -> None:
    hub = told(hub, notices_webhook_url="https://hook.example/x")
    account_id = acme(hub)

    def fail() -> None:
        with hub.database.write():
            decline(hub, account_id)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert states(hub) == []


# ---- the webhook


def test_a_post_is_signed_and_says_what_the_mail_says(hub: Hub, taker: FakeUpstream) -> None:
    hub = told(hub, notices_webhook_url=f"{taker.origin}/hook?from=th")
    secrets.set(hub, "notices.webhook_secret", SECRET)
    account_id = acme(hub)
    decline(hub, account_id)
    send(hub)
    (post,) = taker.received
    assert (post.method, post.path, post.header("content-type")) == ("POST", "/hook?from=th", "application/json")
    signatures.check([SECRET], post.body, post.header("TokenHub-Signature") or "", clock.now_ms() // 1000)
    body = post.json()
    assert (body["object"], body["kind"], body["ref"]) == ("notice", "card_declined", "topup_1")
    assert body["account"] == {"id": account_id, "name": "acme"}
    assert body["data"] == FACTS
    assert (body["subject"], body["text"]) == (
        (words := rules.words("card_declined", "acme", FACTS)).subject,
        words.text,
    )
    assert body["instance"] == hub.instance
    assert states(hub) == [("webhook", f"{taker.origin}/hook?from=th", "sent", 1)]


def test_without_a_secret_a_post_carries_no_signature(hub: Hub, taker: FakeUpstream) -> None:
    hub = told(hub, notices_webhook_url=taker.origin)
    decline(hub, acme(hub))
    send(hub)
    assert taker.received[0].header("TokenHub-Signature") is None
    assert taker.received[0].path == "/"


def test_what_was_sent_is_not_sent_again(hub: Hub, taker: FakeUpstream) -> None:
    hub = told(hub, notices_webhook_url=taker.origin)
    decline(hub, acme(hub))
    for later_ms in (0, 60_000, 86_400_000):
        send(hub, later_ms)
    assert len(taker.received) == 1


@pytest.mark.parametrize(
    "reply",
    [
        [head(500) + b"oh"],
        [head(404)],
        [head(302, {"Location": "http://127.0.0.1:1/", "Content-Length": "0"})],
        [Cut()],
        [b"not http at all\r\n\r\n"],
    ],
    ids=["500", "404", "redirect", "nothing", "garbage"],
)
def test_a_post_that_is_not_taken_is_repeated_under_the_same_id_until_it_is(hub: Hub, reply: Reply) -> None:
    with FakeUpstream([[*reply, Cut()], json_reply({})]) as server:
        hub = told(hub, notices_webhook_url=server.origin)
        decline(hub, acme(hub))
        send(hub)
        assert states(hub) == [("webhook", server.origin, "new", 1)]
        send(hub)
        assert len(server.received) == 1, "it must pause first"
        send(hub, rules.FIRST_PAUSE_MS + 1)
        assert states(hub) == [("webhook", server.origin, "sent", 2)]
        assert len({request.json()["id"] for request in server.received}) == 1


def test_a_reply_that_says_yes_counts_however_it_goes_on(hub: Hub) -> None:
    with FakeUpstream([[b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", Cut()]]) as server:
        hub = told(hub, notices_webhook_url=server.origin)
        decline(hub, acme(hub))
        send(hub)
    assert states(hub)[0][2:] == ("sent", 1)


def test_a_receiver_that_is_away_is_tried_once_a_run_and_given_up_after_three_days(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_ms = clock.now_ms()
    monkeypatch.setattr(clock, "now_ms", lambda: now_ms)
    with FakeUpstream(lambda _request: [Cut()]) as server:
        hub = told(hub, notices_webhook_url=server.origin)
        account_id = acme(hub)
        for number in range(5):
            decline(hub, account_id, f"topup_{number}")
        send(hub)
        assert len(server.received) == 1, "what is away holds up its own notices"
        assert {tries for *_, tries in states(hub)} == {1}
        runs = 0
        while any(state == "new" for _, _, state, _ in states(hub)):
            now_ms += 3_600_000
            runs += 1
            send(hub)
        assert 70 <= runs <= 73
    assert {state for _, _, state, _ in states(hub)} == {"failed"}
    assert store.troubles(hub.database, 0).failed == 5


def test_one_notice_that_is_refused_holds_up_no_other(hub: Hub) -> None:
    def picky(request: Received) -> Reply:
        return json_reply({}, 400 if request.json()["ref"] == "topup_0" else 200)

    with FakeUpstream(picky) as server:
        hub = told(hub, notices_webhook_url=server.origin)
        account_id = acme(hub)
        for number in range(4):
            decline(hub, account_id, f"topup_{number}")
        send(hub)
    assert [state for _, _, state, _ in states(hub)] == ["new", "sent", "sent", "sent"]


def test_a_webhook_that_is_away_does_not_hold_up_the_mail(hub: Hub) -> None:
    with MailServer() as server:
        hub = mailing(hub, server, notices_webhook_url="http://127.0.0.1:9/")
        decline(hub, acme(hub))
        send(hub)
        assert [(channel, state) for channel, _, state, _ in states(hub)] == [("webhook", "new"), ("email", "sent")]


@pytest.mark.parametrize(
    "address",
    [
        "ftp://example.com/",
        "example.com/hook",
        "https://me:secret@example.com/",
        "http://",
        "http://x:0/",
        "http://x:99999/",
    ],
)
def test_an_address_that_cannot_be_posted_to_is_given_up_at_once(hub: Hub, address: str) -> None:
    hub = told(hub, notices_webhook_url=address)
    decline(hub, acme(hub))
    send(hub)
    assert states(hub) == [("webhook", address, "failed", 1)]
    assert "secret" not in "".join(reasons(hub))


def test_a_post_over_tls_goes_to_who_can_prove_its_name(hub: Hub, authority: Authority) -> None:
    with FakeUpstream(lambda _request: json_reply({}), tls=authority.server("127.0.0.1")) as server:
        hub = told(hub, notices_webhook_url=server.origin)
        decline(hub, acme(hub))
        send(hub)
        assert states(hub) == [("webhook", server.origin, "sent", 1)]
    with FakeUpstream(lambda _request: json_reply({}), tls=authority.server("other.example")) as server:
        decline(told(hub, notices_webhook_url=server.origin), 1, "topup_2")
        send(hub)
        assert not server.received
        assert states(hub)[1][2] == "new"


# ---- the mail


def test_a_mail_arrives_as_it_was_told(hub: Hub) -> None:
    with MailServer() as server:
        hub = mailing(hub, server)
        account = accounts.create(hub, "Größe & Söhne", email="pay@acme.example").account
        notices.tell(hub, NoticeKind.CARD_DECLINED, "topup_1", account.id, FACTS)
        send(hub)
    (mail,) = server.mails
    assert (mail.sender, mail.receivers) == ("hub@example.com", ("pay@acme.example",))
    message = mail.message
    assert message["Subject"] == "TokenHub: Card declined (Größe & Söhne)"
    assert (message["From"], message["To"], message["Auto-Submitted"]) == (
        "hub@example.com",
        "pay@acme.example",
        "auto-generated",
    )
    assert message["Message-ID"].endswith(f".{hub.instance}@example.com>")
    text = message.get_content()
    assert "Größe & Söhne" in text
    assert "visa 4242" in text


def test_all_that_is_due_goes_in_one_session(hub: Hub) -> None:
    with MailServer() as server:
        hub = mailing(hub, server, notices_email="ops@hub.example")
        account_id = acme(hub)
        for number in range(10):
            decline(hub, account_id, f"topup_{number}")
        send(hub)
    assert len(server.mails) == 20
    assert server.sessions == 1


def test_starttls_comes_before_the_password(hub: Hub, authority: Authority) -> None:
    with MailServer(tls=authority.server("127.0.0.1"), user=("hub", "pässword")) as server:
        hub = mailing(hub, server, smtp_security="starttls", smtp_user="hub")
        secrets.set(hub, "smtp.password", "pässword")
        decline(hub, acme(hub))
        send(hub)
        assert [mail.encrypted for mail in server.mails] == [True]
        assert server.passwords == [("pässword".encode(), True)]


def test_tls_from_the_first_byte(hub: Hub, authority: Authority) -> None:
    with MailServer(tls=authority.server("127.0.0.1"), wrapped=True, user=("hub", "word")) as server:
        hub = mailing(hub, server, smtp_security="tls", smtp_user="hub")
        secrets.set(hub, "smtp.password", "word")
        decline(hub, acme(hub))
        send(hub)
        assert [mail.encrypted for mail in server.mails] == [True]


def test_a_mail_server_that_cannot_prove_its_name_gets_neither_password_nor_mail(
    hub: Hub, authority: Authority
) -> None:
    for wrapped, security in ((False, "starttls"), (True, "tls")):
        with MailServer(tls=authority.server("other.example"), wrapped=wrapped, user=("hub", "word")) as server:
            other = mailing(hub, server, smtp_security=security, smtp_user="hub")
            secrets.set(hub, "smtp.password", "word")
            account = accounts.create(hub, security, email="a@b.example").account
            decline(other, account.id, security)
            send(other, 3_600_000)
            assert (server.mails, server.passwords) == ([], [])


def test_a_server_without_starttls_gets_nothing_when_it_is_asked_for(hub: Hub) -> None:
    with MailServer(user=("hub", "word")) as server:
        hub = mailing(hub, server, smtp_security="starttls", smtp_user="hub")
        secrets.set(hub, "smtp.password", "word")
        decline(hub, acme(hub))
        send(hub)
        assert (server.mails, server.passwords) == ([], [])
        assert states(hub)[0][2:] == ("new", 1)


def test_a_password_never_travels_in_the_clear_to_another_machine(hub: Hub) -> None:
    hub = told(hub, smtp_host="mail.example.com", smtp_security="none", smtp_user="hub", smtp_from="hub@example.com")
    decline(hub, acme(hub))
    send(hub)
    assert "in the clear" in reasons(hub)[0]


def test_a_wrong_password_is_named_and_everything_waits(hub: Hub) -> None:
    with MailServer(user=("hub", "right")) as server:
        hub = mailing(hub, server, smtp_user="hub", notices_email="ops@hub.example")
        secrets.set(hub, "smtp.password", "wrong")
        decline(hub, acme(hub))
        send(hub)
        assert [state for _, _, state, _ in states(hub)] == ["new", "new"]
        assert "smtp.password" in reasons(hub)[0]
        assert len(server.passwords) == 1
        secrets.set(hub, "smtp.password", "right")
        send(hub, rules.FIRST_PAUSE_MS + 1)
        assert [state for _, _, state, _ in states(hub)] == ["sent", "sent"]


def test_an_address_that_is_refused_for_good_is_given_up_and_the_others_get_theirs(hub: Hub) -> None:
    with MailServer() as server:
        server.answers = {"RCPT gone@acme.example": "550 no such user", "RCPT later@acme.example": "450 busy"}
        hub = mailing(hub, server)
        for name in ("gone", "later", "fine"):
            account = accounts.create(hub, name, email=f"{name}@acme.example").account
            decline(hub, account.id)
        send(hub)
    assert [state for _, _, state, _ in states(hub)] == ["failed", "new", "sent"]
    assert server.sessions == 1


@pytest.mark.parametrize("verb", ["MAIL", "DATA"])
def test_a_mail_server_that_refuses_the_mail_is_tried_again(hub: Hub, verb: str) -> None:
    with MailServer() as server:
        server.answers = {verb: "554 not today"}
        hub = mailing(hub, server)
        decline(hub, acme(hub))
        send(hub)
        assert states(hub)[0][2:] == ("new", 1)
        server.answers = {}
        send(hub, rules.FIRST_PAUSE_MS + 1)
        assert states(hub)[0][2:] == ("sent", 2)
    assert len(server.mails) == 1


def test_a_silent_mail_server_is_left_after_a_time(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tokenhub.operations.mail.TIMEOUT_S", 0.2)
    with MailServer() as server:
        server.silent = True
        hub = mailing(hub, server)
        decline(hub, acme(hub))
        send(hub)
    assert states(hub)[0][2:] == ("new", 1)


def test_nothing_that_an_account_is_called_can_add_a_header(hub: Hub) -> None:
    with MailServer() as server:
        hub = mailing(hub, server)
        account_id = acme(hub)
        with hub.database.write():
            hub.database.execute("UPDATE accounts SET name = ? WHERE id = ?", ("a\r\nBcc: eve@example.com", account_id))
        decline(hub, account_id)
        send(hub)
    (mail,) = server.mails
    assert mail.receivers == ("pay@acme.example",)
    assert mail.message["Bcc"] is None


@pytest.mark.parametrize("kind", [NoticeKind.LOW_BALANCE, NoticeKind.RECHARGE_SUSPENDED])
def test_a_command_that_a_notice_gives_names_the_account_whatever_it_is_called(kind: NoticeKind) -> None:
    name = "it's $(reboot) `x`"
    command = next(
        line.partition("tokenhub topup ")[2]
        for line in rules.words(kind, name, {}).text.splitlines()
        if "topup " in line
    )
    said = subprocess.run(["sh", "-c", f"printf '%s\\n' {command}"], capture_output=True, text=True, check=True).stdout
    assert said.splitlines()[:3] == ["AMOUNT", "--account", name]


def test_a_subscriber_by_mail_who_gets_none_is_told_of(hub: Hub) -> None:
    subscriptions.add(hub, "mail", "ops@example.com", ())
    (found,) = notices.examine(hub)
    assert (found.health, found.remedy) == (Health.WARNING, "tokenhub config set smtp.host mail.example.com")


# ---- low balance


def threshold(hub: Hub, account_id: int, nano: int | None) -> None:
    accounts.change(hub, account_id, {"low_balance": nano})


def spend(hub: Hub, account_id: int, nano: int) -> None:
    """Take credit out of the first lot as a settled request does."""
    with hub.database.write():
        hub.database.execute("UPDATE accounts SET available = available - ? WHERE id = ?", (nano, account_id))
        hub.database.execute(
            "UPDATE lots SET available = available - ?, spent = spent + ? WHERE account_id = ?",
            (nano, nano, account_id),
        )


_looks = count(1)


def watch(hub: Hub) -> int:
    """Look a second after the last look: a fall has its name from the moment it was seen."""
    return notices.watch_balances(hub, clock.now_ms() + next(_looks) * 1000)


def test_a_fall_below_the_threshold_is_told_once_and_again_after_a_rise(hub: Hub) -> None:
    hub = told(hub, notices_webhook_url="https://hook.example/x")
    account_id = acme(hub)
    grants.grant(hub, account_id, 10 * 10**9, expires_at_ms=None)
    threshold(hub, account_id, 5 * 10**9)
    assert watch(hub) == 0
    spend(hub, account_id, 5 * 10**9)
    assert watch(hub) == 0, "five is not below five"
    spend(hub, account_id, 1)
    assert [watch(hub) for _ in range(3)] == [1, 0, 0]
    (body,) = (json.loads(body) for (body,) in hub.database.rows("SELECT body FROM notices"))
    assert body == {"account": "acme", "balance": "4.999999999", "threshold": "5"}
    grants.grant(hub, account_id, 1, expires_at_ms=None)
    assert watch(hub) == 0
    with hub.database.write():
        hub.database.execute("UPDATE accounts SET available = available - 1 WHERE id = ?", (account_id,))
    assert watch(hub) == 1
    assert len(states(hub)) == 2


def test_what_requests_have_set_aside_is_not_a_fall(hub: Hub) -> None:
    hub = told(hub, notices_webhook_url="https://hook.example/x")
    account_id = acme(hub)
    grants.grant(hub, account_id, 6 * 10**9, expires_at_ms=None)
    threshold(hub, account_id, 5 * 10**9)
    with hub.database.write():
        hub.database.execute("UPDATE accounts SET available = 1, held = ? WHERE id = ?", (6 * 10**9 - 1, account_id))
    assert watch(hub) == 0


def test_an_account_without_a_threshold_is_never_told_of_and_one_taken_back_is_forgotten(hub: Hub) -> None:
    hub = told(hub, notices_webhook_url="https://hook.example/x")
    account_id = acme(hub)
    assert watch(hub) == 0
    threshold(hub, account_id, 1)
    assert watch(hub) == 1
    threshold(hub, account_id, None)
    assert watch(hub) == 0
    threshold(hub, account_id, 2)
    assert watch(hub) == 1


def test_a_threshold_of_nothing_tells_of_debt_alone(hub: Hub) -> None:
    hub = told(hub, notices_webhook_url="https://hook.example/x")
    account_id = acme(hub)
    threshold(hub, account_id, 0)
    assert watch(hub) == 0


# ---- as documented


def test_the_check_that_the_documentation_shows_believes_a_real_post_and_no_other(
    hub: Hub, taker: FakeUpstream
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "notices.md").read_text(encoding="utf-8")
    program = page.partition("```python\n")[2].partition("```")[0]
    names: dict[str, Any] = {}
    exec(compile(program, "docs/notices.md", "exec"), names)
    is_from_tokenhub = names["is_from_tokenhub"]
    hub = told(hub, notices_webhook_url=taker.origin)
    secrets.set(hub, "notices.webhook_secret", SECRET)
    decline(hub, acme(hub))
    send(hub)
    (post,) = taker.received
    header = post.header("TokenHub-Signature") or ""
    assert is_from_tokenhub(post.body, header, SECRET)
    assert not is_from_tokenhub(post.body + b" ", header, SECRET)
    assert not is_from_tokenhub(post.body, header, "another-secret-here")
    old = signatures.sign(SECRET, post.body, clock.now_ms() // 1000 - 301)
    for forged in ("", "t=,v1=", "v1=é", header.replace("v1", "v0"), old):
        assert not is_from_tokenhub(post.body, forged, SECRET)


def test_every_kind_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "notices.md").read_text(encoding="utf-8")
    table = page.partition("| `kind` |")[2].partition("## By mail")[0]
    rows = [line.split("|") for line in table.splitlines() if line.startswith("| `")]
    assert {row[1].strip(" `"): row[3].strip() for row in rows} == {
        kind.value: "operator" if kind in rules.FOR_OPERATORS_ALONE else "account, operator" for kind in NoticeKind
    }


def test_every_event_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "stripe.md").read_text(encoding="utf-8")
    listed = page.partition("Select these events:")[2].partition("Others do no harm")[0]
    assert set(re.findall(r"`([a-z_.]+)`", listed)) == set(EVENT_TYPES)
