"""The guard rails of the tests themselves: no way out of this machine, nothing of the user's shell."""

from __future__ import annotations

import os
import socket

import pytest

from tests.conftest import is_local


@pytest.mark.parametrize(
    "address", [("192.0.2.1", 80), ("example.com", 443), ("2001:db8::1", 80, 0, 0), ("127.0.0.1.example.com", 1)]
)
def test_a_way_out_is_closed(address: tuple[str, int]) -> None:
    with socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET) as client:
        for connect in (client.connect, client.connect_ex):
            with pytest.raises(RuntimeError, match="only loopback"):
                connect(address)


def test_loopback_and_unix_sockets_are_open() -> None:
    for address in (
        ("127.0.0.1", 1),
        ("127.1.2.3", 1),
        ("localhost", 1),
        ("0.0.0.0", 1),
        ("::1", 1, 0, 0),
        "/run/x.sock",
        b"/x",
    ):
        assert is_local(address)
    with socket.socket() as listener, socket.socket() as client:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        client.connect(listener.getsockname())
        assert client.getpeername() == listener.getsockname()


def test_no_key_and_no_setting_of_the_shell_is_seen() -> None:
    kept = ("AUTO_ROUTER_CACHE", "AUTO_ROUTER_DATA")
    assert not [name for name in os.environ if name.startswith("AUTO_ROUTER_") and name not in kept]
    assert not {"OPENAI_API_KEY", "NVIDIA_API_KEY", "HF_TOKEN", "HTTP_PROXY", "https_proxy"} & set(os.environ)
    assert os.environ["HF_HUB_OFFLINE"] == "1"
    assert "auto-router-tests-" in os.environ["HF_HOME"]
