"""The fake vendor itself: the official SDKs must take it for the real thing, and its truth must be true."""

import anthropic
import httpx
import openai
import pytest

from harness import PATIENCE, Sim, new_key, wait_until

SAID = "Hello! I am the built-in vendor, and all is well."


@pytest.fixture
def claude(sim):
    return anthropic.Anthropic(base_url=sim.url, api_key=sim.keys["anthropic-api"], max_retries=0)


@pytest.fixture
def gpt(sim):
    return openai.OpenAI(base_url=sim.url + "/v1", api_key=sim.keys["anthropic-api"], max_retries=0)


def ask(text):
    return {"model": "m", "max_tokens": 64, "messages": [{"role": "user", "content": text}]}


def test_messages_report_the_tokens_they_were_asked_for(sim, claude):
    usage = claude.messages.create(**ask("sim: input=7 output=9 cache_read=2 cache_write_5m=1 cache_write_1h=4")).usage
    assert (usage.input_tokens, usage.output_tokens, usage.cache_read_input_tokens) == (7, 9, 2)
    assert usage.cache_creation_input_tokens == 5
    assert (usage.cache_creation.ephemeral_5m_input_tokens, usage.cache_creation.ephemeral_1h_input_tokens) == (1, 4)
    assert sim.calls()[0]["usage"] == {"input": 7, "output": 9, "cache_read": 2, "cache_write_5m": 1,
                                       "cache_write_1h": 4, "reasoning": 0}


def test_messages_stream_says_the_same_text_in_any_number_of_events(claude):
    for events in (1, 3, 60):
        with claude.messages.stream(**ask(f'sim: output=9 events={events} text="ünï cödé wörds"')) as stream:
            assert "".join(stream.text_stream) == "ünï cödé wörds"
            assert stream.get_final_message().usage.output_tokens == 9


def test_the_known_answer_question_is_answered(claude):
    message = claude.messages.create(**ask("Reply with exactly the word PINEAPPLE and nothing else."))
    assert message.content[0].text == "PINEAPPLE"


def test_count_tokens_and_models_are_free(sim, claude, gpt):
    assert claude.messages.count_tokens(model="m", messages=[{"role": "user", "content": "x"}]).input_tokens > 0
    assert [m.id for m in claude.models.list()] == [m.id for m in gpt.models.list()] == ["sim-1"]
    (row, *_) = sim.stats()["keys"]
    assert row["calls"] == 0 and row["tokens"]["input"] == 0


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 413, 429, 500, 529])
def test_an_error_on_demand_is_told_as_the_sdk_expects(sim, claude, status):
    with pytest.raises(anthropic.APIStatusError) as told:
        claude.messages.create(**ask(f"sim: status={status} retry_after=3"))
    assert told.value.status_code == status and told.value.response.headers["retry-after"] == "3"
    assert told.value.body["error"]["type"].endswith(("_error", "too_large"))
    assert sim.calls(outcome="error")[0]["usage"]["input"] == 0


def test_chat_completions_tell_usage_only_when_asked_to(gpt):
    def stream(**more):
        return list(gpt.chat.completions.create(model="m", stream=True,
                                                messages=[{"role": "user", "content": "hi"}], **more))

    silent, telling = stream(), stream(stream_options={"include_usage": True})
    assert all(c.usage is None for c in silent)
    assert telling[-1].usage.completion_tokens == 10 and telling[-1].choices == []
    assert "".join(c.choices[0].delta.content or "" for c in silent) == SAID


@pytest.mark.parametrize("style", ["choice", "hit_miss", "beside", "each"])
def test_chat_counts_as_different_vendors_do(gpt, style):
    chunks = list(gpt.chat.completions.create(
        model="m", stream=True, stream_options={"include_usage": True},
        messages=[{"role": "user", "content": f"sim: style={style} input=5 cache_read=3 output=20 reasoning=7"}]))
    usages = [u for c in chunks for u in [c.usage and c.usage.model_dump(), *(x.model_extra.get("usage") for x in c.choices)] if u]
    last = usages[-1]
    assert last["prompt_tokens"] == 8 and last["total_tokens"] == 28
    assert last["completion_tokens"] == (13 if style == "beside" else 20)
    assert (chunks[-1].choices == []) == (style != "choice") and (len(usages) > 1) == (style == "each")
    if style == "hit_miss":
        assert (last["prompt_cache_hit_tokens"], last["prompt_cache_miss_tokens"]) == (3, 5)


def test_a_vendor_that_dies_inside_an_event_leaves_half_of_it(sim):
    with pytest.raises(httpx.HTTPError):
        with httpx.stream("POST", sim.url + "/v1/messages", json=ask("sim: cut_after=2") | {"stream": True},
                          headers={"x-api-key": sim.keys["anthropic-api"]}) as answer:
            got = b""
            for piece in answer.iter_raw():
                got += piece
    assert got.count(b"text_delta") >= 2 and not got.endswith(b"\n\n")
    assert sim.calls()[0]["outcome"] == "died_on_demand" and sim.calls()[0]["events"] == 2


def test_responses_stream_ends_with_usage(gpt):
    with gpt.responses.stream(model="m", input='hi sim: text="two words" output=8 reasoning=3 cache_read=2') as stream:
        for _ in stream:
            pass
        final = stream.get_final_response()
    assert final.output_text == "two words"
    assert final.usage.output_tokens == 8 and final.usage.output_tokens_details.reasoning_tokens == 3
    assert final.usage.input_tokens_details.cached_tokens == 2


def test_embeddings_cost_input_only(sim, gpt):
    assert gpt.embeddings.create(model="m", input="some text").usage.prompt_tokens > 0
    assert sim.calls(kind="embeddings")[0]["usage"]["output"] == 0


def test_a_wrong_key_is_refused_and_counted(sim):
    answer = httpx.post(sim.url + "/v1/messages", headers={"x-api-key": "wrong"}, json=ask("hi"))
    assert answer.status_code == 401 and answer.json()["error"]["type"] == "authentication_error"
    assert sim.stats()["unauthorized"] == 1 and sim.calls()[0]["key"] is None


def test_keys_are_told_apart_but_never_told():
    keys = {"first": new_key(), "second": new_key()}
    sim = Sim(keys)
    try:
        for key in keys.values():
            anthropic.Anthropic(base_url=sim.url, api_key=key).messages.create(**ask("hi"))
        assert {(k["key"]["name"], k["key"]["last4"]) for k in sim.stats()["keys"]} == {
            (name, key[-4:]) for name, key in keys.items()}
        assert not any(key in str(sim.stats()) for key in keys.values())
    finally:
        sim.stop()


def test_a_client_that_leaves_is_an_abort_with_what_it_got(sim, claude):
    with claude.messages.stream(**ask("sim: input=50 output=100 events=100 stall_after=20")) as stream:
        seen = 0
        for _ in stream.text_stream:
            seen += 1
            if seen == 5:
                break
    (call,) = wait_until(lambda: sim.calls(outcome="aborted_by_client"), "the abort to be noticed")
    assert call["head_delivered"] and not call["usage_delivered"] and call["usage"]["input"] == 50
    assert 5 <= call["events"] <= 20 and call["generated_output"] == call["events"]
    assert 0 < call["bytes_acked"] <= call["bytes_sent"]


def test_a_vendor_that_dies_breaks_the_stream(sim, claude):
    got = []
    with pytest.raises(Exception) as told:  # which exception is the HTTP library's business
        with claude.messages.stream(**ask("sim: die_after=3")) as stream:
            got += stream.text_stream
    assert not isinstance(told.value, AssertionError) and len(got) == 3
    assert sim.calls()[0]["outcome"] == "died_on_demand" and sim.calls()[0]["events"] == 3


def test_a_vendor_that_stalls_says_nothing_more(sim, claude):
    impatient = claude.with_options(timeout=0.5 * PATIENCE)
    with pytest.raises(Exception):
        with impatient.messages.stream(**ask("sim: stall_after=2")) as stream:
            for _ in stream.text_stream:
                pass
    wait_until(lambda: sim.calls(outcome="aborted_by_client"), "the call to end")


def test_usage_may_be_late_or_missing(sim, claude):
    with claude.messages.stream(**ask("sim: input=9 output=3 late_usage=1")) as stream:
        starts = [e for e in stream if e.type == "message_start"]
        assert starts[0].message.usage.input_tokens == 0
    answer = httpx.post(sim.url + "/v1/messages", headers={"x-api-key": sim.keys["anthropic-api"]},
                        json=ask("sim: no_usage=1"))
    assert "usage" not in answer.json()


@pytest.mark.parametrize("chunked", [False, True])
def test_bodies_of_many_megabytes_are_taken(sim, chunked):
    text = ("x" * 1023 + "\n") * 20_000
    body = ('{"messages":[{"role":"user","content":"' + text.replace("\n", "\\n") +
            'sim: text=big"}],"model":"m","max_tokens":1}').encode()
    content = (body[i:i + 100_000] for i in range(0, len(body), 100_000)) if chunked else body
    answer = httpx.post(sim.url + "/v1/messages", headers={"x-api-key": sim.keys["anthropic-api"]},
                        content=content, timeout=60)
    assert answer.json()["content"][0]["text"] == "big"
