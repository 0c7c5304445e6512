"""The OpenAPI document: the file is what the code gives, and all of the server is in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from live import HI, Live

from onesec.serve import app_schema, responses, schema
from onesec.serve.app import ROUTES, written

FILE = Path(__file__).parents[2] / "docs" / "openapi.json"
DOCUMENT: Any = json.loads(written())
STRUCTS = {
    struct.__name__: struct
    for module in (schema, app_schema, responses)
    for struct in vars(module).values()
    if isinstance(struct, type)
    and issubclass(struct, msgspec.Struct)
    and struct.__name__.endswith("Request")
}


def test_the_file_is_what_the_code_gives() -> None:
    assert FILE.read_text(encoding="utf-8") == written(), "write it anew with: make openapi"


def test_every_route_is_in_it_and_nothing_else() -> None:
    told = {
        (method.upper(), path)
        for path, operations in DOCUMENT["paths"].items()
        for method in operations
    }
    assert told == {(method, path.replace(":path", "")) for method, path, _ in ROUTES}
    assert all(
        operation["summary"] != path
        for path, operations in DOCUMENT["paths"].items()
        for operation in operations.values()
    )


def test_every_field_that_is_read_is_in_it() -> None:
    components = DOCUMENT["components"]["schemas"]
    posted = {
        operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        for operations in DOCUMENT["paths"].values()
        for operation in operations.values()
        if "requestBody" in operation
    }
    assert posted == STRUCTS.keys()
    for name, struct in STRUCTS.items():
        assert set(components[name]["properties"]) == set(struct.__struct_fields__)
    for name in ("ChatRequest", "SupportRequest"):
        field = components[name]["properties"]["deadline_ms"]["anyOf"][0]
        assert field["maximum"] > 1e3
        assert "Milliseconds" in field["description"]


def test_references_lead_somewhere() -> None:
    components = DOCUMENT["components"]["schemas"]
    found = [
        part.partition('"')[0] for part in json.dumps(DOCUMENT).split("#/components/schemas/")[1:]
    ]
    assert found
    assert set(found) <= components.keys()


def conform(value: Any, answer: Any) -> None:
    jsonschema.validate(value, {**answer, "components": DOCUMENT["components"]})


def test_the_server_gives_it_and_keeps_to_it(reciter: Live) -> None:
    with reciter.client() as client:
        assert client.get("/openapi.json").json() == DOCUMENT
        for path, operations in DOCUMENT["paths"].items():
            for method, operation in operations.items():
                kinds = operation["responses"]["200"]["content"]
                if path.startswith("/v1/apps/"):  # which need a model that says more
                    continue
                posted = operation.get("requestBody", {}).get("content", {})
                body = {"json": posted["application/json"]["example"]} if posted else {}
                reply = client.request(method, path.replace("{model}", "reciter"), **body)
                assert reply.status_code == 200, path
                kind = reply.headers["content-type"].partition(";")[0]
                assert kind in kinds
                if kind == "application/json":
                    conform(reply.json(), kinds[kind]["schema"])


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"messages": HI, "deadline_ms": 2}, 422),
        ({"messages": HI, "n": 9}, 400),
        ({"messages": HI, "model": "other"}, 404),
        ({}, 400),
    ],
)
def test_refusals_are_what_it_says(reciter: Live, body: Any, status: int) -> None:
    with reciter.client() as client:
        reply = client.post("/v1/chat/completions", json=body)
    assert reply.status_code == status
    operation = DOCUMENT["paths"]["/v1/chat/completions"]["post"]
    conform(
        reply.json(), operation["responses"]["default"]["content"]["application/json"]["schema"]
    )


def test_another_method_is_told_which_there_are(reciter: Live) -> None:
    with reciter.client() as client:
        for path, operations in DOCUMENT["paths"].items():
            reply = client.put(path, json={})
            assert reply.status_code == 405
            allowed = {method.strip() for method in reply.headers["allow"].split(",")}
            assert allowed - {"HEAD"} == {method.upper() for method in operations}
