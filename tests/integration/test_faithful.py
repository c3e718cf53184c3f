"""What goes in comes out: bodies of calls and answers byte by byte, whatever their size, pieces and transport.

Two places may differ: the model's name, and in a streamed chat completion that did not ask for its usage
the word that asks, with the one chunk that comes of it.
"""

import functools
import gzip
import json
import random
import ssl
import subprocess

import httpx
import pytest

from harness import ANTHROPIC_BASE
from raw import Client, Vendor, answer, message
from tls import TlsPurser, make_certificate

MODEL, VENDOR_MODEL = "minimax/MiniMax-M2.7", "MiniMax-M2.7"
OPENAI_BASE = "/api/v1/internal/llm/openai/v1"
CHAT, RESPONSES, MESSAGES = OPENAI_BASE + "/chat/completions", OPENAI_BASE + "/responses", ANTHROPIC_BASE + "/v1/messages"
ASKS = '"stream_options":{"include_usage":true}'


@pytest.fixture(scope="module")
def shared_sim():
    vendor = Vendor("minimax")
    yield vendor
    vendor.stop()


@pytest.fixture(scope="module")
def shared_purser(shared_sim):
    purser = TlsPurser(shared_sim, make_certificate())
    yield purser
    purser.stop()


@pytest.fixture(scope="module")
def shared_agent(shared_purser):
    return shared_purser.new_agent(model=MODEL)


@pytest.fixture
def agent(purser, shared_agent):
    return shared_agent


@pytest.fixture(scope="module")
def clients(shared_purser):
    context = ssl.create_default_context(cafile=shared_purser.cert)
    with httpx.Client(verify=context, timeout=60) as one, httpx.Client(verify=context, http2=True, timeout=60) as two:
        yield {"HTTP/1.1": one, "HTTP/2": two}


@pytest.fixture(params=["HTTP/1.1", "HTTP/2"])
def post(request, clients, agent):
    """Sends bytes as a call; returns status, headers and the body's bytes as they came."""
    def post(path, content, **headers):
        sent = {"authorization": "Bearer " + agent.token, "content-type": "application/json"} | headers
        with clients[request.param].stream("POST", agent.purser.url + path, content=content, headers=sent) as told:
            assert told.http_version == request.param
            return told.status_code, told.headers, b"".join(told.iter_raw())
    return post


@functools.cache
def text_of(n):
    """About n bytes of JSON text in UTF-8, escapes and all; what is beyond 64 KiB is plainer."""
    r = random.Random(n)
    words = ["a", "é", "\\n", "\\u0041", '\\"', "𝄞", " ", "model", "{", "]", "\\\\"]
    text = "".join(r.choices(words, k=min(n, 65536) // 2)).encode()
    return text + r.randbytes(max(0, n - len(text)) // 2 + 1).hex().encode()[:max(0, n - len(text))]


def call_of(n, *, before=b"", after=b""):
    return b'{"x" : "%s"%s, "model" :\t"%s","max_tokens":5%s, "messages": [{"role":"user","content":"hi"}]}\n ' % (
        text_of(n), before, MODEL.encode(), after)


def as_sent(body):
    return body.replace(MODEL.encode(), VENDOR_MODEL.encode(), 1)


@pytest.mark.parametrize("n", [0, 1, 4095, 16384, 1_000_003, 30_000_000])
def test_a_call_reaches_the_vendor_byte_by_byte(sim, post, n):
    body = call_of(n)
    assert post(MESSAGES, body)[::2] == (200, message())
    (call,) = sim.calls
    assert call.body == as_sent(body) and call.headers["content-length"] == [str(len(call.body))]


def test_a_call_in_chunks_does_too(sim, post):
    body = call_of(500_000)
    pieces = [body[i:i + 33_333] for i in range(0, len(body), 33_333)]
    assert post(MESSAGES, iter(pieces))[0] == 200
    assert sim.calls[0].body == as_sent(body)


def test_the_name_may_lie_anywhere_between_two_reads(sim, agent, purser):
    """The body comes in two pieces, cut at each byte around the name."""
    body = call_of(2000)
    at = body.index(b'"model"')
    with ssl.create_default_context(cafile=purser.cert).wrap_socket(
            Client(agent).socket, server_hostname="127.0.0.1") as s, s.makefile("rb") as file:
        for cut in range(at - 2, at + len('"model" :\t""') + len(MODEL) + 2):
            head = f"POST {MESSAGES} HTTP/1.1\r\nHost: 127.0.0.1\r\nx-api-key: {agent.token}\r\nContent-Length: {len(body)}\r\n\r\n"
            s.sendall(head.encode() + body[:cut])
            s.sendall(body[cut:])
            while file.readline() not in (b"\r\n", b""):
                pass
            assert file.read(len(message())) == message()
            assert sim.calls[-1].body == as_sent(body), cut


@pytest.mark.parametrize("n", [0, 1, 16384, 100_001, 30_000_000])
@pytest.mark.parametrize("how", ["length", "chunks", "close"])
def test_an_answer_reaches_the_client_byte_by_byte(sim, post, n, how):
    body = random.Random(n).randbytes(n)

    def play(call):
        call.read()
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
        if how == "length":
            call.send(head, b"Content-Length: %d\r\n\r\n" % n, body)
        elif how == "close":
            call.send_and_close(head, b"Connection: close\r\n\r\n", body)
        else:
            pieces = [body[i:i + 7001] for i in range(0, n, 7001)]
            call.send(head, b"Transfer-Encoding: chunked\r\n\r\n", *[b"%x\r\n%s\r\n" % (len(p), p) for p in pieces], b"0\r\n\r\n")

    sim.play = play
    status, headers, told = post(MESSAGES, call_of(10))
    assert (status, told) == (200, body)
    assert how != "length" or headers["content-length"] == str(n)


def test_no_body_at_all_is_no_call(sim, post):
    assert post(MESSAGES, b"")[0] == 400
    assert sim.calls == []


@pytest.mark.parametrize("body", [message(), message(text="x" * 100_000)], ids=["short", "long"])
def test_who_offers_compression_gets_plain_bytes(sim, post, body):
    sim.play = lambda call: (call.read(), call.send(answer(body=body)))
    status, headers, told = post(MESSAGES, call_of(10), **{"accept-encoding": "gzip, deflate, br, zstd"})
    assert (status, told) == (200, body) and "content-encoding" not in headers
    assert "accept-encoding" not in sim.calls[0].headers


def test_what_a_vendor_compressed_unasked_stays_as_it_is(sim, post):
    body = gzip.compress(message())
    sim.play = lambda call: (call.read(), call.send(answer("Content-Encoding: gzip", body=body)))
    status, headers, told = post(MESSAGES, call_of(10))
    assert (status, told, headers["content-encoding"]) == (200, body, "gzip")


def test_a_call_that_says_it_is_compressed_is_refused(sim, post):
    assert post(MESSAGES, gzip.compress(call_of(10)), **{"content-encoding": "gzip"})[0] == 415
    assert sim.calls == []


# ---- the two places that may differ in a chat completion ----

def chunk(content=None, usage=None, choices=True, **more):
    body = {"id": "c", "object": "chat.completion.chunk", "model": VENDOR_MODEL} | more
    if choices:
        body["choices"] = [{"index": 0, "delta": {"content": content}}]
    elif choices is not None:
        body["choices"] = []
    body["usage"] = usage
    return b"data: %s\n\n" % json.dumps(body, ensure_ascii=False).encode()


USAGE = {"prompt_tokens": 11, "completion_tokens": 4, "total_tokens": 15}
TEXT = [chunk("Hé"), chunk('"choices":[]'), b": a comment\n\n", chunk("𝄞")]
EXTRA, DONE = chunk(usage=USAGE, choices=False), b"data: [DONE]\n\n"


def chat(options=b"", stream=b"true"):
    return b'{"model":"%s","stream":%s%s,"max_tokens":9,"messages":[]}' % (MODEL.encode(), stream, options)


def in_chunks(*pieces):
    """One answer, cut into HTTP chunks where the pieces end: the gateway sees just these buffers."""
    return b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n" + b"".join(
        b"%x\r\n%s\r\n" % (len(p), p) for p in pieces if p) + b"0\r\n\r\n"


@pytest.mark.parametrize("options, sent", [
    (b"", None), (b',"stream_options":null', None), (b',"stream_options":{}', None),
    (b',"stream_options" : { "x" : 1 }', None), (b',"stream_options":{"include_usage":false}', None),
    (b',"stream_options":{"include_usage": true}', b',"stream_options":{"include_usage": true}'),
], ids=lambda p: p.decode() if p else "")
def test_a_stream_is_asked_for_its_usage_and_nothing_else_changes(sim, post, options, sent):
    sim.play = lambda call: (call.read(), call.send(in_chunks(*TEXT, EXTRA, DONE)))
    body = chat(options)
    status, _, told = post(CHAT, body)
    assert (status, told) == (200, b"".join([*TEXT, *[EXTRA] * (sent is not None), DONE]))
    (call,) = sim.calls
    asked = json.loads(call.body)
    assert asked["stream_options"]["include_usage"] is True
    assert {k: v for k, v in asked.items() if k != "stream_options"} == {
        k: v for k, v in json.loads(as_sent(body)).items() if k != "stream_options"}
    if sent is not None:
        assert call.body == as_sent(body)
    if options == b"":
        assert call.body.replace(b',"stream_options":{"include_usage":true}', b"", 1) == as_sent(body) or \
            call.body.replace(b'"stream_options":{"include_usage":true},', b"", 1) == as_sent(body)


@pytest.mark.parametrize("path, body", [(CHAT, chat(stream=b"false")), (RESPONSES, chat()), (MESSAGES, chat())],
                         ids=["not streamed", "responses", "messages"])
def test_nobody_else_is_asked(sim, post, path, body):
    sim.play = lambda call: (call.read(), call.send(in_chunks(*TEXT, EXTRA, DONE)))
    assert post(path, body)[::2] == (200, b"".join([*TEXT, EXTRA, DONE]))
    assert sim.calls[0].body == as_sent(body)


def test_the_extra_chunk_goes_wherever_the_stream_is_cut(sim, agent, purser):
    """Every cut into two, and each byte alone: on one connection, one call after the other."""
    stream = b"".join([*TEXT, EXTRA, DONE])
    cuts = [(stream[:at], stream[at:]) for at in range(len(stream) + 1)]
    cuts.append([stream[i:i + 1] for i in range(len(stream))])
    with ssl.create_default_context(cafile=purser.cert).wrap_socket(
            Client(agent).socket, server_hostname="127.0.0.1") as s, s.makefile("rb") as file:
        for pieces in cuts:
            sim.play = lambda call, pieces=pieces: (call.read(), call.send(in_chunks(*pieces)))
            body = chat()
            s.sendall(f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nx-api-key: {agent.token}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
            assert file.readline().split()[1] == b"200"
            while file.readline() != b"\r\n":
                pass
            told = b""
            while (size := int(file.readline(), 16)) > 0:
                told += file.read(size)
                file.readline()
            file.readline()
            assert told == b"".join([*TEXT, DONE]), [len(p) for p in pieces]


@pytest.mark.parametrize("events", [
    [chunk("a", usage=USAGE), DONE],                         # usage beside text is the client's
    [chunk("a"), chunk(choices=None, usage=None), DONE],     # says nothing at all
    [chunk("a"), chunk(choices=False, usage=None), DONE],    # filters' notes look like this
    [chunk("a"), b"data: not json {\n\n", DONE],
    [chunk("x" * 200_000), DONE],
    [b"data: " + b" " * 100_000 + chunk("late")[6:], DONE],
    [chunk("a").replace(b"\n\n", b"\r\n\r\n"), DONE],
    [chunk("a"), b"data: " + chunk("cut")[6:40]],            # the vendor stops in an event
], ids=range(8))
def test_what_is_no_usage_chunk_passes(sim, post, events):
    sim.play = lambda call: (call.read(), call.send(in_chunks(*[p for e in events for p in (e[:9], e[9:-5], e[-5:])])))
    assert post(CHAT, chat())[::2] == (200, b"".join(events))


def test_a_body_without_a_length_is_taken_up_to_four_mebibytes(sim, post):
    whole = b'{"model":"%s","max_tokens":9,"messages":[{"role":"user","content":"%s"}]}' % (MODEL.encode(), b"x" * 3_000_000)
    sim.play = lambda call: (call.read(), call.send(answer()))
    assert post(MESSAGES, (whole[i:i + 60_000] for i in range(0, len(whole), 60_000)))[0] == 200
    assert sim.calls[-1].body == as_sent(whole)
    calls = len(sim.calls)
    status, headers, _ = post(MESSAGES, (b" " * 60_000 for _ in range(80)))
    assert (status, headers["x-purser-code"]) == (411, "LENGTH_REQUIRED") and len(sim.calls) == calls


def test_curl_speaks_http2_to_it(sim, agent, purser):
    if "HTTP2" not in subprocess.run(["curl", "--version"], capture_output=True, text=True).stdout:
        pytest.skip("this curl was built without HTTP/2")
    body = call_of(300_000)
    told = subprocess.run(
        ["curl", "-sS", "--http2", "--compressed", "--cacert", purser.cert, "-H", f"x-api-key: {agent.token}", "-w",
         "%{http_version} %{http_code}", "--data-binary", "@-", purser.url + MESSAGES], input=body, capture_output=True)
    assert told.stdout == message() + b"2 200", told.stderr
    assert sim.calls[0].body == as_sent(body)
