"""Bytes as they are: a vendor that answers with whatever a test says, a client that sends it.

Nothing here knows HTTP better than it must; what is wrong on purpose stays wrong.
"""

import contextlib
import json
import socket
import struct

from harness import ANTHROPIC_BASE, MODEL, PATIENCE, InBackground, new_key

CALL = ANTHROPIC_BASE + "/v1/messages"
BOUND = 10  # max_tokens of every call here
BIG = 12_000_000  # more than the kernel takes for a vendor that does not read


def ask(text="hi"):
    return json.dumps({"model": MODEL, "max_tokens": BOUND, "messages": [{"role": "user", "content": text}]}).encode()


def event(kind, **fields):
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), json.dumps({"type": kind} | fields).encode())


def message(output=7, text="hello"):
    return json.dumps({"id": "m", "type": "message", "model": "claude-opus-4-7", "stop_reason": "end_turn",
                       "content": [{"type": "text", "text": text}],
                       "usage": {"input_tokens": 22, "output_tokens": output}}).encode()


def answer(*headers, body=message()):
    lines = ["HTTP/1.1 200 OK", "Content-Type: application/json", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def text_event(text):
    return event("content_block_delta", index=0, delta={"type": "text_delta", "text": text})


STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
START = event("message_start", message={"usage": {"input_tokens": 22, "output_tokens": 1}})
STOP = event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 7}) + event("message_stop")


def read_head(file):
    """The first line and the headers, names in lower case, every value of each; empty at the end."""
    first, headers = file.readline().decode("latin-1"), {}
    while (line := file.readline()) not in (b"", b"\r\n"):
        name, _, value = line.decode("latin-1").partition(":")
        headers.setdefault(name.lower(), []).append(value.strip())
    return first.strip(), headers


class VendorCall:
    """One call as it came; what is done with it is the test's to say."""

    open, body = True, None

    def __init__(self, connection, file, line, headers):
        self.connection, self.file, self.headers = connection, file, headers
        self.method, self.path, _ = line.split(" ")

    def read(self):
        if self.body is None:
            self.body = self.file.read(int(self.headers.get("content-length", ["0"])[0]))
        return self.body

    def send(self, *parts):
        self.connection.sendall(b"".join(parts))

    def send_and_close(self, *parts):
        """The call is read first: bytes left unread would make the close a reset."""
        self.read()
        self.send(*parts)
        self.open = False

    def reset(self):
        self.open = False
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def serve(call):
    call.read()
    call.send(answer())


class Vendor:
    """Answers with whatever bytes `play` sends; remembers every call that came."""

    def __init__(self, *providers):
        self.keys = {provider: new_key() for provider in providers or ["anthropic-api"]}
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.reset()
        InBackground(self._accept)

    def reset(self):
        self.calls = []
        self.play = serve

    def _accept(self):
        with contextlib.suppress(OSError):  # until stop()
            while True:
                connection = self.listener.accept()[0]
                # What a test says now is to be there now, whether or not what was said before is acknowledged.
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                InBackground(self._serve, connection)

    def _serve(self, connection):
        with connection, connection.makefile("rb") as file, contextlib.suppress(OSError):
            while (head := read_head(file))[0]:
                call = VendorCall(connection, file, *head)
                self.calls.append(call)
                self.play(call)
                if not call.open:
                    break
                call.read()

    def stop(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


class Client:
    """A connection to the gateway that sends exactly the bytes it is told."""

    def __init__(self, agent):
        self.token = agent.token
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # for the one that stops reading
        self.socket.settimeout(10 * PATIENCE)
        self.socket.connect(("127.0.0.1", agent.purser.port))
        self.file = self.socket.makefile("rb")

    def send(self, *headers, body=ask(), method="POST", path=CALL, length=True):
        lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"x-api-key: {self.token}"]
        lines += [f"Content-Length: {len(body)}"] if length else []
        self.socket.sendall("\r\n".join([*lines, *headers]).encode() + b"\r\n\r\n" + body)
        return self

    def head(self):
        line, headers = read_head(self.file)
        assert line, "the gateway closed the connection without an answer"
        return int(line.split(" ")[1]), headers

    def answer(self):
        """Status, headers and body of the next answer."""
        status, headers = self.head()
        return status, headers, self.body(headers)

    def body(self, headers):
        if "content-length" in headers:
            return self.file.read(int(headers["content-length"][0]))
        body, size = b"", None
        while "transfer-encoding" in headers and size != 0:
            size = int(self.file.readline(), 16)
            body += self.file.read(size)
            self.file.readline()
        return body

    def leave(self):
        self.file.close()
        self.socket.close()
