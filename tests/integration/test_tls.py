"""TLS on both sides: a vendor that cannot prove its name gets no call, and clients may speak TLS and HTTP/2."""

import contextlib
import json
import os
import socket
import ssl
import threading

import httpx
import pytest

from harness import MODEL, Purser, Sim, new_key, wait_until
from raw import START, STOP, STREAM_HEAD, Client, Vendor, answer, ask, message, serve
from tls import make_certificate

STREAM_BYTES = 2048  # of the buffer a stream is read through

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


class TrustedVendor(Vendor):
    """Speaks TLS; the purser beside it trusts its certificate."""

    def __init__(self, certificate, *providers):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(*certificate)
        super().__init__(*providers)
        self.url = f"https://localhost:{self.listener.getsockname()[1]}"

    def _serve(self, connection):
        with contextlib.suppress(OSError):
            super()._serve(self.context.wrap_socket(connection, server_side=True))


class TrustingPurser(Purser):
    """Sees, in place of the machine's authorities, one certificate."""

    def __init__(self, vendor, certificate):
        self.authority = certificate[0]
        super().__init__(vendor, flags=["--worker-processes", "1"])

    def argv(self):
        return ["unshare", "--mount", "sh", "-ec", 'mount --bind "$0" "$1"; shift; exec "$@"',
                self.authority, ssl.get_default_verify_paths().openssl_cafile, *super().argv()]


def padded(n):
    """The end of a stream in chunks: so many bytes."""
    end = b"%x\r\n%s\r\n0\r\n\r\n" % (len(STOP), STOP)
    rest = n - len(end) - len(b"3e8\r\n\r\n")
    assert 0x100 <= rest < 0x1000
    return b"%03x\r\n:%s\n\n\r\n" % (rest, b"." * (rest - 3)) + end


@pytest.mark.parametrize("tls", [
    pytest.param(True, marks=pytest.mark.skipif(os.geteuid() != 0, reason="only root can replace the authorities")), False,
], ids=["over TLS", "in plain text"])
def test_what_a_vendor_says_behind_its_answer_is_nobodys(certificate, tls):
    """The gateway reads just to the answer's end: what is left over must not wait for the connection's next call."""
    vendor = TrustedVendor(certificate) if tls else Vendor()
    purser = TrustingPurser(vendor, certificate) if tls else Purser(vendor, flags=["--worker-processes", "1"])
    try:
        agent, go_on = purser.new_agent(), threading.Event()
        chunk = b"%x\r\n%s\r\n" % (len(START), START)

        def leave_something(call):
            call.read()
            call.send(STREAM_HEAD.replace(b"Connection: close", b"Transfer-Encoding: chunked"), chunk)
            go_on.wait(20)
            call.send(padded(STREAM_BYTES), answer(body=message(text="of the first call")))

        vendor.play = leave_something
        client = Client(agent).send()
        status, headers = client.head()
        assert (status, client.file.read(len(chunk))) == (200, chunk)
        vendor.play = serve
        go_on.set()
        assert client.body(headers).endswith(STOP)
        assert agent.post(json.loads(ask())).content == message()
        assert len({call.connection for call in vendor.calls}) == 2
    finally:
        purser.stop()
        vendor.stop()
