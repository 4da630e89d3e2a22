"""Which base URLs an operator may give, and how a loop of gateways is seen."""

import pytest

from tokenhub.errors import InvalidRequest, LoopDetected
from tokenhub.providers.addresses import next_hop, refused, validate_base_url


@pytest.mark.parametrize(
    ("url", "plain"),
    [
        ("https://api.example.com/v1", "https://api.example.com/v1"),
        ("https://api.example.com/v1/", "https://api.example.com/v1"),
        ("https://API.Example.com:443/v1", "https://api.example.com/v1"),
        ("https://api.example.com:8443", "https://api.example.com:8443"),
        ("https://203.0.113.7/v1", "https://203.0.113.7/v1"),
        ("https://[2001:db8::1]:8443/v1", "https://[2001:db8::1]:8443/v1"),
        ("http://127.0.0.1:8000/v1", "http://127.0.0.1:8000/v1"),
        ("http://[::1]:8000/v1", "http://[::1]:8000/v1"),
        ("http://localhost:11434/v1", "http://localhost:11434/v1"),
        (
            "https://llm-abc.cn-beijing.maas.aliyuncs.com/compatible-mode/v1",
            "https://llm-abc.cn-beijing.maas.aliyuncs.com/compatible-mode/v1",
        ),
        ("https://under_score.example.com", "https://under_score.example.com"),
    ],
)
def test_t84_a_plain_base_url_is_taken(url: str, plain: str) -> None:
    assert validate_base_url(url) == plain


@pytest.mark.parametrize("url", ["http://10.0.0.5:8000/v1", "http://gpu-box:8000/v1", "http://192.168.1.9/v1"])
def test_t84_plain_text_needs_to_be_asked_for(url: str) -> None:
    with pytest.raises(InvalidRequest, match="--insecure-http"):
        validate_base_url(url)
    assert validate_base_url(url, insecure_http=True) == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "api.example.com/v1",
        "//api.example.com/v1",
        "ftp://api.example.com",
        "file:///etc/passwd",
        "https://",
        "https:///v1",
        "https://user@api.example.com/v1",
        "https://user:secret@api.example.com/v1",
        "https://@api.example.com/v1",
        "https://api.example.com/v1?key=1",
        "https://api.example.com/v1?",
        "https://api.example.com/v1#top",
        "https://api.example.com/v1#",
        "https://api.example.com/../v1",
        "https://api.example.com/./v1",
        "https://api.example.com/%2e%2e/v1",
        "https://api.example.com/a b",
        "https://api.example.com/v1\r\nHost: evil",
        "https://api.example.com\\@evil.com/",
        "https://api.example.com:0/v1",
        "https://api.example.com:99999/v1",
        "https://api.example.com:x/v1",
        "https://münchen.example/v1",
        "https://-bad-.example.com",
        "https://a..b.example.com",
        "https://" + "a" * 64 + ".example.com",
        "https://2130706433/v1",
        "https://0x7f000001/v1",
        "https://0x7f.1/v1",
        "https://0177.0.0.1/v1",
        "https://127.1/v1",
        "https://127.0.0.01/v1",
        "https://1.2.3.4.5/v1",
        "https://256.1.1.1/v1",
        "https://api.example.123/v1",
        "https://169.254.169.254/latest",
        "https://[fe80::1]/v1",
        "https://[fe80::1%25eth0]/v1",
        "https://[::ffff:169.254.169.254]/v1",
        "https://[64:ff9b::a9fe:a9fe]/v1",
        "https://[fd00:ec2::254]/v1",
        "https://100.100.100.200/v1",
        "https://168.63.129.16/v1",
        "https://0.0.0.0/v1",
        "https://[::]/v1",
        "https://224.0.0.1/v1",
        "https://255.255.255.255/v1",
        "https://[ff02::1]/v1",
        "https://[::1/v1",
    ],
)
@pytest.mark.parametrize("insecure", [False, True])
def test_t84_a_base_url_that_could_lead_elsewhere_is_refused(url: str, insecure: bool) -> None:
    with pytest.raises(InvalidRequest) as caught:
        validate_base_url(url, insecure)
    assert (caught.value.code, caught.value.param) == ("invalid_base_url", "base_url")
    assert "secret" not in caught.value.message.replace("credential's secret", "")


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1"])
def test_t84_loopback_is_called_only_where_the_url_says_loopback(address: str) -> None:
    assert refused(address, loopback=False)
    assert not refused(address, loopback=True)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "10.1.2.3", "192.168.0.1", "2001:4860:4860::8888", "fd12:3456::1", "64:ff9b::808:808"]
)
def test_t84_public_and_private_addresses_are_called(address: str) -> None:
    assert not refused(address, loopback=False)


def test_t66_each_gateway_adds_itself_to_the_hops() -> None:
    assert next_hop(None, "a") == "a"
    assert next_hop("", "a") == "a"
    assert next_hop("a", "b") == "a,b"
    assert next_hop("a, b", "c") == "a,b,c"


@pytest.mark.parametrize(
    "incoming", ["a", "b,a", "a,b", "b, a", "b,c,d,e", "b,c,d,e,f,g", "b\tc", "b,,c", "x" * 65, "é"]
)
def test_t66_a_request_that_was_here_before_is_a_loop(incoming: str) -> None:
    with pytest.raises(LoopDetected) as caught:
        next_hop(incoming, "a")
    assert caught.value.status == 508
