"""A purser that speaks TLS, and a client of its HTTP/2 that does just what a test says."""

import socket
import ssl
import struct
import subprocess

import h2.config
import h2.connection
import h2.events
import h2.settings
import httpx

from harness import PATIENCE, Purser, make_folder, wait_until
from raw import CALL, ask


def make_certificate():
    """Self-signed: nobody on this machine trusts it."""
    folder = make_folder()
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                    "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert],
                   check=True, capture_output=True)
    return cert, key


class TlsPurser(Purser):
    """Clients speak TLS to it, so HTTP/2, too."""

    def __init__(self, sim, certificate, flags=()):
        self.cert = certificate[0]
        super().__init__(sim, wait=False, flags=["--tls-cert", certificate[0], "--tls-key", certificate[1], *flags])
        self.url = self.url.replace("http:", "https:")
        wait_until(self._ready, "purser up to be ready", 20)
        for provider, key in sim.keys.items():
            self.api("PUT", f"/admin/platform/keys/{provider}", {"value": key})

    def health(self):
        return httpx.get(self.url + "/health", timeout=5, verify=False)


class Stream:
    """What came of one call."""

    def __init__(self):
        self.headers, self.body, self.over, self.reset = {}, b"", False, None

    @property
    def status(self):
        return int(self.headers[b":status"])


class H2Client:
    """One connection. Nothing is read before a test asks for it: what is not read piles up in the gateway."""

    def __init__(self, agent, *, window=65535):
        self.token = agent.token
        plain = socket.socket()
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        plain.settimeout(20 * PATIENCE)
        plain.connect(("127.0.0.1", agent.purser.port))
        context = ssl.create_default_context(cafile=agent.purser.cert)
        context.set_alpn_protocols(["h2"])
        self.socket = context.wrap_socket(plain, server_hostname="127.0.0.1")
        assert self.socket.selected_alpn_protocol() == "h2"
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding=None))
        self.h2.initiate_connection()
        self.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window})
        self.h2.increment_flow_control_window(2**30)
        self.streams, self.gone_away, self.rest = {}, None, b""
        self.flush()

    def flush(self):
        self.socket.sendall(self.h2.data_to_send())

    def send(self, *headers, body=None, path=CALL, ends=True):
        """Begins a call; its stream's number."""
        number = self.h2.get_next_available_stream_id()
        body = ask() if body is None else body
        head = [(":method", "POST"), (":path", path), (":scheme", "https"), (":authority", "127.0.0.1"),
                ("x-api-key", self.token), ("content-length", str(len(body))), *headers]
        self.h2.send_headers(number, head)
        self.streams[number] = Stream()
        while body:
            while self.h2.local_flow_control_window(number) == 0:
                self.read()
            n = min(len(body), self.h2.local_flow_control_window(number), self.h2.max_outbound_frame_size)
            self.h2.send_data(number, body[:n])
            body = body[n:]
        if ends:
            self.h2.end_stream(number)
        self.flush()
        return number

    def whole_frames(self, content):
        """What came, without a GOAWAY: behind one the library would take nothing more, but the calls go on."""
        self.rest += content
        frames = b""
        while len(self.rest) >= 9 and len(self.rest) >= (n := 9 + int.from_bytes(self.rest[:3], "big")):
            frame, self.rest = self.rest[:n], self.rest[n:]
            if frame[3] == 7:
                self.gone_away = struct.unpack(">II", frame[9:17])  # the last stream, the error's code
            else:
                frames += frame
        return frames

    def read(self):
        """Once, whatever is there; False at the end of the connection."""
        content = self.socket.recv(65536)
        for event in self.h2.receive_data(self.whole_frames(content)):
            stream = self.streams.get(getattr(event, "stream_id", None))
            if stream is None:
                continue
            if isinstance(event, h2.events.ResponseReceived):
                stream.headers = dict(event.headers)
            elif isinstance(event, h2.events.DataReceived):
                stream.body += event.data
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.StreamEnded):
                stream.over = True
            elif isinstance(event, h2.events.StreamReset):
                stream.over, stream.reset = True, event.error_code
        if content:
            self.flush()
        return bool(content)

    def until(self, condition):
        """Reads until the condition holds; what it answered."""
        while not (answer := condition()):
            assert self.read(), "the gateway closed the connection"
        return answer

    def answer(self, number):
        stream = self.streams[number]
        self.until(lambda: stream.over)
        assert stream.reset is None, f"the gateway reset stream {number}: {stream.reset}"
        return stream

    def reset(self, number):
        self.h2.reset_stream(number, error_code=8)  # CANCEL
        self.flush()

    def leave(self):
        self.socket.close()
