"""LangChain's ChatOpenAI and OpenAIEmbeddings: asked, streamed, with tools, with a form."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import pytest
from serving import Served

pytest.importorskip("langchain_openai")
pytest.importorskip("llguidance")

from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel, Field

pytestmark = pytest.mark.clients

QUESTION = "When do you open?"


class Mood(BaseModel):
    """How a customer feels."""

    feeling: Literal["glad", "angry", "neutral"]
    score: int = Field(ge=1, le=5)


@tool
def find_order(number: int, kind: Literal["sale", "return"]) -> str:
    """Find an order."""
    return f"{kind} {number}"


@pytest.fixture(scope="module")
def chat(server: Served) -> Iterator[ChatOpenAI]:
    found = ChatOpenAI(
        model="onesec-tools",
        base_url=f"{server.url}/v1",
        api_key="none",
        temperature=0,
        max_retries=0,
        extra_body={"deadline_ms": 20_000},
    )
    yield found
    found.root_client.close()


def test_asked_and_streamed(chat: ChatOpenAI) -> None:
    whole = chat.invoke(QUESTION)
    assert whole.content
    assert whole.usage_metadata["output_tokens"] > 0
    chunks = list(chat.stream(QUESTION, stream_usage=True))
    assert "".join(str(chunk.content) for chunk in chunks) == whole.content
    told = [chunk.usage_metadata for chunk in chunks if chunk.usage_metadata]
    assert told[-1]["output_tokens"] == whole.usage_metadata["output_tokens"]


@pytest.mark.parametrize("choice", ["find_order", "required", "any", True])
def test_a_tool_is_called(chat: ChatOpenAI, choice: Any) -> None:
    bound = chat.bind_tools([find_order], tool_choice=choice)
    [call] = bound.invoke(QUESTION).tool_calls
    assert call["name"] == "find_order"
    assert find_order.invoke(call["args"])
    streamed = None
    for chunk in bound.stream(QUESTION):
        streamed = chunk if streamed is None else streamed + chunk
    assert [(c["name"], c["args"]) for c in streamed.tool_calls] == [("find_order", call["args"])]


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_answers_of_a_form(chat: ChatOpenAI, method: Any) -> None:
    found = chat.with_structured_output(Mood, method=method).invoke("I love it!")
    assert isinstance(found, Mood)


def test_embeddings(server: Served) -> None:
    embed = OpenAIEmbeddings(
        model="onesec-tools",
        base_url=f"{server.url}/v1",
        api_key="none",
        check_embedding_ctx_length=False,
        chunk_size=8,
    )
    vectors = embed.embed_documents([f"Document {number}" for number in range(20)])
    assert len(vectors) == 20
    assert embed.embed_query("Document 3") == pytest.approx(vectors[3])
    embed.client._client.close()
