"""TLS on both sides: a vendor that cannot prove its name gets no call, and clients may speak TLS and HTTP/2."""

import contextlib
import socket
import ssl
import threading

import httpx
import pytest

from harness import MODEL, Purser, Sim, new_key, wait_until
from tls import make_certificate

BODY = {"model": MODEL, "max_tokens": 50, "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture(scope="module")
def certificate():
    return make_certificate()


class Impostor:
    """Speaks TLS with that certificate and notes every byte of a call that reaches it."""

    def __init__(self, certificate):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self.listener.getsockname()[1]}"
        self.keys = {"anthropic-api": new_key()}
        self.handshakes, self.heard = 0, b""
        threading.Thread(target=self.serve, args=(context,), daemon=True).start()

    def serve(self, context):
        with contextlib.suppress(OSError):
            while True:
                connection = self.listener.accept()[0]
                self.handshakes += 1
                with contextlib.suppress(OSError), context.wrap_socket(connection, server_side=True) as s:
                    self.heard += s.recv(65536)


def test_a_vendor_whose_certificate_nobody_trusts_gets_no_call_and_no_key(certificate):
    impostor = Impostor(certificate)
    purser = Purser(impostor)
    try:
        agent = purser.new_agent()
        answer = agent.post(BODY)
        assert (answer.status_code, answer.json()["error"]["type"]) == (502, "api_error")
        (row,) = agent.wait_entries(1)
        assert (row["state"], row["cost_nano_usd"]) == ("failed", 0)
        assert impostor.handshakes > 0 and impostor.heard == b""
    finally:
        purser.stop()
        impostor.listener.close()


def test_clients_are_served_over_tls(certificate):
    cert, key = certificate
    sim = Sim({"anthropic-api": new_key()})
    purser = Purser(sim, wait=False, flags=["--tls-cert", cert, "--tls-key", key])
    try:
        purser.url = purser.url.replace("http:", "https:")
        with httpx.Client(verify=ssl.create_default_context(cafile=cert)) as client:
            def ready():
                with contextlib.suppress(httpx.HTTPError):
                    return client.get(purser.url + "/health").status_code == 200

            wait_until(ready, "purser up to be ready", 20)
            assert client.post(purser.url + "/api/v1/internal/llm/anthropic/v1/messages", json=BODY).status_code == 401
    finally:
        purser.stop()
        sim.stop()
