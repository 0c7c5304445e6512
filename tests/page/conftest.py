"""A real browser before a real server: Playwright drives Debian's Chromium. Where one of them is
missing, these tests are skipped; `make page-test` brings what can be installed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import pytest
from browsing import CHROMIUM, SHOTS, Open, serving

_NEEDED = ("playwright", "starlette", "uvicorn", "prometheus_client")


def _missing() -> str | None:
    absent = [name for name in _NEEDED if find_spec(name) is None]
    if absent:
        return f"{', '.join(absent)} not installed (make page-test)"
    return None if CHROMIUM else "no chromium (Debian: apt install chromium)"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = _missing()
    for item in items:
        if item.get_closest_marker("browser") and missing:
            item.add_marker(pytest.mark.skip(reason=missing))


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    with serving() as address:
        yield address


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    SHOTS.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"] if os.geteuid() == 0 else []
        )
        yield found
        found.close()


@pytest.fixture
def open_page(browser: Any, server: str) -> Iterator[Open]:
    """Open the page in a browser that has never been here. What it may not do fails the test: ask
    another server, fail in a script, break its own policy."""
    contexts, troubles = [], []

    def opened(
        language: str = "en",
        theme: str = "light",
        *,
        address: str = server,
        width: int = 1280,
        expected: tuple[str, ...] = (),
        ready: bool = True,
        **options: Any,
    ) -> Any:
        locale = {"en": "en-US", "zh": "zh-CN"}[language]
        context = browser.new_context(
            locale=locale,
            color_scheme=theme,
            viewport={"width": width, "height": 860 if width > 600 else 740},
            **options,
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)

        def heard(message: Any) -> None:
            if message.type == "error" and not any(word in message.text for word in expected):
                troubles.append(f"{message.text} {message.location}")

        def asked(request: Any) -> None:
            if not request.url.startswith((address, "data:")):
                troubles.append(f"asked {request.url}")

        page.on("console", heard)
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("request", asked)
        page.on("dialog", lambda dialog: troubles.append(f"dialog {dialog.message}"))
        page.goto(address)
        if ready:
            page.wait_for_selector("#state[data-state=ready]")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not troubles
