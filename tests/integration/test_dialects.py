"""The vendors' own SDKs, in Python and Node: every method the gateway serves, streamed and not, errors included.

What a client was told, what the fake vendor delivered and what the ledger holds must agree.
"""

import asyncio
import json
import subprocess

import anthropic
import httpx
import openai
import pytest

from harness import NODE_MODULES, SOURCE, Purser, clean_environment
from registries import offers_embeddings, registry_file

MINIMAX, GPT, EMBED = "minimax/MiniMax-M2.7", "openai/gpt-5.4", "openai/text-embedding-3-small"
VENDOR_KEYS = ["anthropic-api", "minimax", "openai-api"]
KINDS = {"input": "input_tokens", "output": "output_tokens", "cache_read": "cache_read_tokens", "reasoning": "reasoning_tokens"}


@pytest.fixture(scope="module")
def shared_purser(shared_sim):
    purser = Purser(shared_sim, flags=["--registry", registry_file(offers_embeddings)])
    yield purser
    purser.stop()


class Caller:
    """An agent with the SDKs set up as its environment says."""

    def __init__(self, agent, sim):
        self.agent, self.sim = agent, sim
        settings = {"api_key": agent.token, "max_retries": 0, "timeout": 30}
        base = agent.env["MOLECULE_LLM_BASE_URL"]
        self.anthropic = anthropic.Anthropic(base_url=agent.env["MOLECULE_LLM_ANTHROPIC_BASE_URL"], **settings)
        self.openai = openai.OpenAI(base_url=base, **settings)
        self.async_openai = openai.AsyncOpenAI(base_url=base, **settings)

    def check_books(self, n=1):
        """The rows, once there are n: each as exact as the vendor's own truth."""
        rows = self.agent.wait_entries(n)
        assert {(row["state"], row["certainty"]) for row in rows} == {("settled", "exact")}, rows
        truth = [c["usage"] for kind in ("messages", "chat", "responses", "embeddings") for c in self.sim.calls(kind=kind)]
        assert sorted(tuple(row[name] for name in KINDS.values()) for row in rows) == sorted(
            tuple(usage[kind] for kind in KINDS) for usage in truth)
        return rows


@pytest.fixture
def minimax(purser, sim):
    agent = purser.new_agent(model=MINIMAX)
    yield Caller(agent, sim)
    agent.stop()


@pytest.fixture
def gpt(purser, sim):
    agent = purser.new_agent(model=GPT, runtime="codex", extra_models=[EMBED])
    yield Caller(agent, sim)
    agent.stop()


def said(text):
    return [{"role": "user", "content": text}]


# ---- Anthropic ----

def test_messages(minimax):
    ask = {"model": MINIMAX, "max_tokens": 100, "messages": said("sim: input=50 output=7 cache_read=11 text=hello")}
    message = minimax.anthropic.messages.create(**ask)
    assert (message.content[0].text, message.usage.output_tokens, message.usage.cache_read_input_tokens) == ("hello", 7, 11)
    with minimax.anthropic.messages.stream(**ask) as stream:
        assert "".join(stream.text_stream) == "hello" and stream.get_final_message().usage.input_tokens == 50
    rows = minimax.check_books(2)
    assert message._request_id in {row["call_id"] for row in rows}


def test_every_beta_header_passes_and_nothing_of_whose_call_it_is(minimax, sim):
    minimax.anthropic.beta.messages.create(
        model=MINIMAX, max_tokens=9, messages=said("sim: output=2"), betas=["one-2025-01-01", "two-2026-02-02"],
        extra_headers={"X-Forwarded-For": "10.1.2.3", "Forwarded": "for=10.1.2.3", "X-Real-IP": "10.1.2.3", "Via": "1.1 me",
                       "x-stainless-custom": "kept"})
    (call,) = sim.calls()
    headers = {k.lower(): v for k, v in call["headers"].items()}
    assert headers["anthropic-beta"] == "one-2025-01-01,two-2026-02-02" and headers["anthropic-version"][:2] == "20"
    assert headers["x-stainless-custom"] == "kept"
    assert "10.1.2.3" not in json.dumps(headers) and not {"via", "forwarded", "x-forwarded-for", "x-real-ip"} & set(headers)
    minimax.check_books()


def test_count_tokens_is_free_but_not_open(minimax, sim, purser):
    counted = minimax.anthropic.messages.count_tokens(model=MINIMAX, messages=said("hi"))
    assert counted.input_tokens > 0
    (call,) = sim.calls(kind="count_tokens")
    assert call["key"]["name"] == "minimax"
    with pytest.raises(anthropic.PermissionDeniedError):
        minimax.anthropic.messages.count_tokens(model="anthropic/claude-opus-4-7", messages=said("hi"))
    stranger = anthropic.Anthropic(base_url=minimax.anthropic.base_url, api_key="nobody", max_retries=0)
    with pytest.raises(anthropic.AuthenticationError):
        stranger.messages.count_tokens(model=MINIMAX, messages=said("hi"))
    assert minimax.agent.entries() == [] and len(sim.calls(kind="count_tokens")) == 1


# ---- OpenAI ----

@pytest.mark.parametrize("include_usage", [None, False, True])
def test_chat_completions(minimax, include_usage):
    ask = {"model": MINIMAX, "max_tokens": 100, "messages": said("sim: input=40 output=9 cache_read=8 reasoning=2 text='hi there'")}
    answer = minimax.openai.chat.completions.create(**ask)
    assert answer.usage.completion_tokens == 9 and answer.usage.prompt_tokens_details.cached_tokens == 8
    more = {} if include_usage is None else {"stream_options": {"include_usage": include_usage}}
    chunks = list(minimax.openai.chat.completions.create(**ask, stream=True, **more))
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == answer.choices[0].message.content
    assert [c.usage.completion_tokens for c in chunks if c.usage] == [9] * bool(include_usage)
    assert [c for c in chunks if not c.choices] == chunks[-1:] * bool(include_usage)
    assert answer._request_id in {row["call_id"] for row in minimax.check_books(2)}


def test_responses(gpt):
    ask = {"model": GPT, "max_output_tokens": 100, "input": "sim: input=40 output=9 cache_read=8 reasoning=4 text=hello"}
    response = gpt.openai.responses.create(**ask)
    assert response.output_text == "hello" and response.usage.output_tokens_details.reasoning_tokens == 4
    with gpt.openai.responses.stream(**ask) as stream:
        for _ in stream:
            pass
        assert stream.get_final_response().usage.input_tokens_details.cached_tokens == 8
    gpt.check_books(2)


def test_embeddings(gpt):
    answer = gpt.openai.embeddings.create(model=EMBED, input=["one", "two"], encoding_format="float")
    assert answer.data and answer.usage.prompt_tokens > 0
    (row,) = gpt.check_books()
    assert row["cost_nano_usd"] == answer.usage.prompt_tokens * 20 and row["model_asked"] == EMBED


def test_asynchronous_calls_at_the_same_time(gpt):
    async def all_at_once():
        async with gpt.async_openai as client:
            return await asyncio.gather(*[
                client.chat.completions.create(model=GPT, max_completion_tokens=50, messages=said(f"sim: input={i} output={i}"))
                for i in range(1, 21)])

    answers = asyncio.run(all_at_once())
    assert [a.usage.completion_tokens for a in answers] == list(range(1, 21))
    gpt.check_books(20)


def test_models_are_those_the_token_may_call(gpt, minimax):
    assert [m.id for m in minimax.anthropic.models.list()] == [MINIMAX]
    assert minimax.anthropic.models.retrieve(MINIMAX).type == "model"
    assert [m.id for m in minimax.openai.models.list()] == [MINIMAX]
    assert sorted(m.id for m in gpt.openai.models.list()) == sorted([GPT, EMBED])
    assert gpt.openai.models.retrieve(GPT).owned_by == "openai-api"
    assert list(gpt.anthropic.models.list()) == []  # not served in that dialect
    for ask in (lambda: gpt.openai.models.retrieve(MINIMAX), lambda: gpt.openai.models.retrieve("none")):
        with pytest.raises(openai.NotFoundError):
            ask()
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=gpt.openai.base_url, api_key="nobody", max_retries=0).models.list()
    with pytest.raises(anthropic.AuthenticationError):
        anthropic.Anthropic(base_url=minimax.anthropic.base_url, api_key="nobody", max_retries=0).models.list()


# ---- errors ----

def check_refused(told, status, code, retry):
    answer = told.value.response
    assert told.value.status_code == status and answer.headers["x-purser-code"] == code
    assert answer.headers["x-should-retry"] == ("true" if retry else "false")
    assert ("retry-after" in answer.headers) == retry
    assert told.value.request_id == answer.headers["x-purser-call-id"]


def test_our_own_errors_are_what_the_sdks_expect(gpt, minimax, sim):
    ask = {"max_tokens": 9, "messages": said("hi")}
    for model, kind, status, code in [
            ("anthropic/claude-opus-4-7", anthropic.PermissionDeniedError, 403, "MODEL_NOT_GRANTED"),
            ("none", anthropic.PermissionDeniedError, 403, "MODEL_NOT_GRANTED"), (7, anthropic.BadRequestError, 400, "BAD_REQUEST")]:
        with pytest.raises(kind) as told:
            minimax.anthropic.messages.create(model=model, **ask)
        check_refused(told, status, code, False)
        assert told.value.body["type"] == "error"
    for path in (gpt.openai.chat.completions.create, gpt.openai.embeddings.create, gpt.openai.responses.create):
        with pytest.raises(openai.BadRequestError) as told:
            path(model=MINIMAX, **({"input": "x"} if path != gpt.openai.chat.completions.create else ask))
        check_refused(told, 400, "MODEL_NOT_GRANTED", False)
        assert told.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as told:  # granted, but no vendor serves it so
        minimax.openai.embeddings.create(model=MINIMAX, input="x")
    check_refused(told, 400, "DIALECT_NOT_SERVED", False)
    assert sim.stats()["calls"] == []


@pytest.mark.parametrize("status, kind", [(400, "BadRequestError"), (401, "AuthenticationError"), (404, "NotFoundError"),
                                          (429, "RateLimitError"), (500, "InternalServerError"), (503, "InternalServerError")])
def test_a_vendors_error_comes_through_as_it_is(minimax, sim, status, kind):
    with pytest.raises(getattr(openai, kind)) as told:
        minimax.openai.chat.completions.create(model=MINIMAX, messages=said(f"sim: status={status} retry_after=9"))
    assert told.value.response.headers.get("retry-after") == "9"
    assert "asked to answer like this" in told.value.message
    with pytest.raises(getattr(anthropic, kind)):
        minimax.anthropic.messages.create(model=MINIMAX, max_tokens=5, messages=said(f"sim: status={status}"))
    rows = minimax.agent.wait_entries(2)
    assert {(row["state"], row["cost_nano_usd"], row["vendor_status"]) for row in rows} == {("failed", 0, status)}
    assert told.value.request_id in {row["call_id"] for row in rows}


@pytest.mark.parametrize("method, path, status", [
    ("GET", "/anthropic/v1/messages", 405), ("PUT", "/openai/v1/chat/completions", 405), ("POST", "/openai/v1/models", 405),
    ("GET", "/openai/v1/responses/resp_1", 404), ("POST", "/openai/v1/images/generations", 404),
    ("POST", "/openai/v1/chat/completions/", 404), ("POST", "/anthropic/v1/complete", 404), ("GET", "/openai/v2/models", 404)])
def test_what_is_not_served(minimax, method, path, status):
    told = httpx.request(method, minimax.agent.purser.url + "/api/v1/internal/llm" + path, json={"model": MINIMAX},
                         headers={"x-api-key": minimax.agent.token})
    assert told.status_code == status and "message" in told.json()["error"]
    assert told.headers["content-type"] == "application/json"
    assert ("type" in told.json()) == path.startswith("/anthropic")


# ---- Node ----

def test_the_node_sdks_agree(minimax, sim, tmp_path):
    o = {"anthropic": str(minimax.anthropic.base_url), "openai": str(minimax.openai.base_url), "key": minimax.agent.token, "chat": MINIMAX}
    done = subprocess.run(["node", SOURCE / "tests/integration/sdk.cjs", NODE_MODULES, json.dumps(o)], capture_output=True,
                          text=True, timeout=60, env=clean_environment())
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["message"] == told["chat"] == told["response"] == ["hello", 5, 3]
    assert (told["message_stream"], told["count_tokens"] > 0) == ("hello", True)
    assert told["chat_stream"] == ["hello", None, 0] and told["chat_stream_usage"] == ["hello", 3, 1]
    assert told["response_stream"] == "response.completed"
    assert told["anthropic_models"] == told["openai_models"] == [MINIMAX] == [told["anthropic_model"]] == [told["openai_model"]]
    assert (told["anthropic_error"]["name"], told["anthropic_error"]["status"]) == ("PermissionDeniedError", 403)
    assert (told["openai_error"]["name"], told["openai_error"]["status"]) == ("BadRequestError", 400)
    assert (told["vendor_error"]["name"], told["vendor_error"]["status"]) == ("InternalServerError", 500)
    rows = minimax.agent.wait_entries(8)
    assert {told["message_id"], told["chat_id"], told["vendor_error"]["request"]} <= {row["call_id"] for row in rows}
    assert sorted(row["state"] for row in rows) == ["failed"] + ["settled"] * 7
