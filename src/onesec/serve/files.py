"""Files: the page at `/` and its parts, read once, with the headers that keep a browser to them.

It must not know what the page does. Its files hold no secret: they are served without a key, and
whatever the page asks for is asked with one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response

_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
}
_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-cache",  # ask whether it is still the same: a new version shows at once
}


@dataclass(frozen=True, slots=True)
class File:
    """One file: its bytes, media type and tag."""

    body: bytes
    kind: str
    tag: str


@cache
def page() -> dict[str, File]:
    """The files by the path that they are served at; `/` is the page itself.

    >>> sorted(page())[0], page()["/"].kind
    ('/', 'text/html; charset=utf-8')
    """
    found = {}
    for entry in files("onesec.serve").joinpath("page").iterdir():
        kind = _KINDS.get(entry.name[entry.name.rfind(".") :])
        if kind is not None:
            body = entry.read_bytes()
            path = "/" if entry.name == "index.html" else f"/page/{entry.name}"
            found[path] = File(body, kind, f'"{sha256(body).hexdigest()[:32]}"')
    return found


async def serve_file(request: Request) -> Response:
    """GET / and /page/...: a file, or 304 where the browser has it."""
    file = page()[request.scope["path"]]
    headers = {**_HEADERS, "etag": file.tag}
    given = request.headers.get("if-none-match", "").split(",")
    known = [tag.strip().removeprefix("W/") for tag in given]  # a proxy that compresses weakens it
    if file.tag in known or known == ["*"]:
        return Response(status_code=304, headers=headers)
    return Response(file.body, headers=headers, media_type=file.kind)
