"""The page as somebody uses it, in a real browser before the shipped model."""

from __future__ import annotations

import json
from typing import Any

import pytest
from browsing import AXE, SHOTS, Open, serving

pytestmark = pytest.mark.browser
LANGUAGES = ("en", "zh")
TABS = ("chat", "support", "translate", "answer", "summarize")
# What the first example's answer must hold.
HOLDS = {
    "en": {
        "chat": "OneSec mini",
        "support": "34",
        "translate": "运费",
        "answer": "3-1",
        "summarize": "kettle",
    },
    "zh": {
        "chat": "OneSec mini",
        "support": "34",
        "translate": "ice cream",
        "answer": "青山体育馆",
        "summarize": "水壶",
    },
}
IN_TIME = {"en": "in time", "zh": "准时"}
FAILED = ("Failed to load resource",)  # what Chromium says of every status from 400 on


def slowly(page: Any) -> None:
    """Five seconds for an answer: the machine that runs the tests may be busy."""
    page.evaluate("localStorage.setItem('onesec.deadline', '5000')")
    page.reload()
    page.wait_for_selector("#state[data-state=ready]")


def show(page: Any, tab: str) -> Any:
    page.locator(f"#tab-{tab}").click()
    return page.locator(f"#panel-{tab}")


def ask(panel: Any, text: str) -> Any:
    """Ask, and return the card once it is over."""
    panel.locator(".composer textarea").fill(text)
    panel.locator(".composer button").click()
    return over(panel)


def over(panel: Any) -> Any:
    panel.locator(".card:not(.running)").last.wait_for()
    return panel.locator(".card").last


def reply(page: Any, path: str, *, status: int = 200, body: Any = None, events: Any = ()) -> None:
    """Have the server answer so, once."""
    if events:
        text = "".join(f"data: {json.dumps(event)}\n\n" for event in events)
        kind = "text/event-stream"
    else:
        text, kind = json.dumps(body), "application/json"
    page.route(
        f"**{path}",
        lambda route: route.fulfill(status=status, body=text, content_type=kind),
        times=1,
    )


def streamed(*tokens: dict[str, Any], told: dict[str, Any]) -> list[dict[str, Any]]:
    """A chat's events: its tokens, then what became of it."""
    return [
        {"choices": [], "onesec": {"likely_ms": 40.0, "predicted_ms": 80.0}},
        *({"choices": [], "onesec": {"tokens": [token]}} for token in tokens),
        {"choices": [], "onesec": {"fitted": None, **told}},
    ]


def token(index: int, text: str, gear: str = "8", at_ms: float = 20.0, **more: Any) -> Any:
    return {"index": index, "text": text, "gear": gear, "at_ms": at_ms, **more}


DONE = {"budget_ms": 500, "elapsed_ms": 60.0, "met": True, "ending": "natural", "gears": {"8": 1}}


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_application_answers(open_page: Open, language: str) -> None:
    theme = {"en": "light", "zh": "dark"}[language]
    page = open_page(language, theme)
    page.screenshot(path=SHOTS / f"empty-{language}-{theme}.png")
    slowly(page)
    for tab in TABS:
        panel = show(page, tab)
        panel.locator(".example").first.click()
        card = over(panel)
        assert HOLDS[language][tab] in card.locator(".text").inner_text()
        assert "kept" in card.get_attribute("class")
        assert IN_TIME[language] in card.locator(".foot").inner_text()
        assert card.locator(".text .token").first.get_attribute("title")
        assert card.locator(".timeline.whole rect.decode").count() >= 1
        card.locator("summary").last.click()
        card.locator(".story li").nth(2).wait_for()
        assert card.locator(".timeline.close line.token").count() >= 1
        page.screenshot(path=SHOTS / f"{tab}-{language}-{theme}.png")
    panel = show(page, "load")
    panel.locator(".dots .dot.met").nth(len(TABS) - 1).wait_for()
    assert "onesec-mini" in panel.locator(".facts").inner_text()
    page.screenshot(path=SHOTS / f"load-{language}-{theme}.png", full_page=True)


@pytest.mark.parametrize("language", LANGUAGES)
def test_sources_lead_to_what_they_name(open_page: Open, language: str) -> None:
    page = open_page(language)
    slowly(page)
    panel = show(page, "answer")
    panel.locator(".example").first.click()
    over(panel).locator(".source").first.click()
    box = panel.locator(".context textarea")
    marked = box.evaluate("box => box.value.slice(box.selectionStart, box.selectionEnd)")
    assert HOLDS[language]["answer"] in marked
    panel = show(page, "support")
    panel.locator(".example").first.click()
    over(panel).locator(".source").first.click()
    assert "34" in page.evaluate("document.activeElement.value")


def test_the_desk_knows_what_it_was_told(open_page: Open) -> None:
    page = open_page()
    slowly(page)
    panel = show(page, "support")
    panel.locator(".context summary").click()
    while panel.locator(".remove").count():
        panel.locator(".remove").first.click()
    panel.get_by_text("Add an entry").click()
    panel.locator(".entry textarea").fill("The green lamp costs $77.")
    card = ask(panel, "How much is the green lamp?")
    assert "77" in card.locator(".text").inner_text()
    page.locator("#language").click()  # what somebody wrote is nobody's example
    assert panel.locator(".entry textarea").input_value() == "The green lamp costs $77."


def test_a_translation_has_a_direction(open_page: Open) -> None:
    page = open_page()
    slowly(page)
    panel = show(page, "translate")
    panel.locator("select").select_option("zh")
    card = ask(panel, "Good morning. How much is delivery?")
    assert card.locator(".text").get_attribute("lang") == "zh"
    assert card.locator(".text .token").count() > 4  # both sentences' tokens keep their gears


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_axe_finds_no_serious_fault(open_page: Open, language: str, theme: str) -> None:
    if not AXE.is_file():
        pytest.skip(f"no axe-core at {AXE} (make page-test)")
    page = open_page(language, theme, expected=FAILED)
    slowly(page)
    page.evaluate(AXE.read_text("utf-8"))

    def faults(place: str) -> list[Any]:
        found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
        return [
            (place, fault["id"], fault["impact"], [node["html"] for node in fault["nodes"]])
            for fault in found
            if fault["impact"] in ("serious", "critical")
        ]

    found = faults("empty")
    for tint in ("gear", "confidence"):
        page.locator(f"label[for=tint-{tint}]").click()
        for tab in TABS:
            panel = show(page, tab)
            panel.locator(".composer textarea").fill("")
            if tint == "gear":
                panel.locator(".example").first.click()
                over(panel).locator("summary").last.click()
            else:
                ask(panel, {"en": "Good morning.", "zh": "早上好。"}[language])
            found += faults(f"{tab}, {tint}")
    panel = show(page, "load")
    panel.locator(".dot.met").first.wait_for()
    panel.locator("summary").click()
    found += faults("load")
    reply(page, "/v1/chat/completions", status=429, body={"error": {"code": "queue_full"}})
    ask(show(page, "chat"), "Hi")
    assert [fault for fault in found + faults("refused") if fault] == []


def test_all_of_it_with_a_keyboard(open_page: Open) -> None:
    page = open_page()
    slowly(page)
    focus = "document.activeElement.id || document.activeElement.className"

    def until(wanted: str) -> None:
        for _ in range(40):
            page.keyboard.press("Tab")
            if wanted in page.evaluate(focus):
                return
        raise AssertionError(f"{wanted} was not reached")

    page.keyboard.press("Tab")
    assert page.evaluate(focus) == "skip"
    until("deadline")
    before = page.locator("#deadline").get_attribute("aria-valuetext")
    page.keyboard.press("ArrowLeft")
    after = page.locator("#deadline").get_attribute("aria-valuetext")
    assert before.replace("\xa0", " ") == "5 s"
    assert after.replace("\xa0", " ") == "4.5 s"
    until("policy-balanced")
    until("tab-chat")
    page.keyboard.press("ArrowRight")
    assert page.evaluate(focus) == "tab-support"
    page.keyboard.press("ArrowLeft")
    until("example")
    page.keyboard.press("Enter")
    panel = page.locator("#panel-chat")
    over(panel)
    panel.locator(".composer textarea").focus()
    page.keyboard.type("Who are")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("you?")
    assert panel.locator(".composer textarea").input_value() == "Who are\nyou?"
    page.keyboard.press("Enter")
    panel.locator(".card").nth(1).wait_for()
    over(panel)
    outline = "getComputedStyle(document.activeElement.closest('.composer')).borderColor"
    shown = page.evaluate(outline)
    page.evaluate("document.activeElement.blur()")
    assert shown != page.locator("#panel-chat .composer").evaluate(
        "node => getComputedStyle(node).borderColor"
    )
    assert "in time" in page.locator("#live").inner_text()


def test_a_method_of_input_keeps_its_enter(open_page: Open) -> None:
    page = open_page("zh")
    box = page.locator("#panel-chat .composer textarea")
    box.fill("ni hao")
    for options in ({"isComposing": True}, {"keyCode": 229}):
        box.evaluate(
            "(box, more) => box.dispatchEvent(new KeyboardEvent('keydown', "
            "{key: 'Enter', bubbles: true, cancelable: true, ...more}))",
            options,
        )
    assert page.locator(".question").count() == 0
    assert box.input_value() == "ni hao"


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_narrow_screen_shows_all_of_it(open_page: Open, language: str) -> None:
    page = open_page(language, "light", width=360, has_touch=True)
    slowly(page)
    for tab in (*TABS, "load"):
        panel = show(page, tab)
        if tab != "load":
            panel.locator(".example").first.click()
            over(panel)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        assert page.locator("#tabs").evaluate("tabs => tabs.scrollWidth <= tabs.clientWidth")
        for each in panel.locator("button:visible").all():
            box = each.bounding_box()
            assert box["x"] + box["width"] <= 360
        page.screenshot(path=SHOTS / f"narrow-{tab}-{language}.png")
    for each in page.locator("aside label").all():
        box = each.bounding_box()
        assert box is None or box["x"] + box["width"] <= 360


def test_the_dial_tells_what_there_is_time_for(open_page: Open) -> None:
    page = open_page()
    shape = {"a_ms": 10.0, "b_ms": 0.0, "c_ms": 0.0, "p_ms": 0.0, "q_ms": 1.0}
    slow = {**shape, "a_ms": 20.0, "p_ms": 0.05}
    with page.expect_response("**/props") as real:
        page.reload()
    told = {**real.value.json(), "gears": ["4", "8"], "context_length": 512}
    told["latency"] = {"gears": {"4": shape, "8": slow}}
    page.route("**/props", lambda route: route.fulfill(body=json.dumps(told)))
    page.evaluate("localStorage.setItem('onesec.deadline', '200')")
    page.reload()
    words = page.locator("#room")
    words.filter(has_text="190 in the fastest").wait_for()
    # 180 ms left: n tokens take (1 + 32 · 0.05) n + 0.05 n² / 2: 180 at 47.5.
    assert "50 tokens in the best" in words.inner_text()
    page.locator("#deadline").focus()
    page.keyboard.press("End")
    words.filter(has_text="all that the model can hold: 512").wait_for()


def test_a_refusal_offers_what_would_do(open_page: Open) -> None:
    page = open_page(expected=FAILED)
    offer = {"error": {"code": "deadline_infeasible", "feasible_ms": 4800.2, "which": "total"}}
    reply(page, "/v1/chat/completions", status=422, body=offer)
    card = ask(page.locator("#panel-chat"), "Who are you?")
    assert "500\xa0ms" in card.inner_text()
    page.screenshot(path=SHOTS / "refused.png")
    with page.expect_request("**/v1/chat/completions") as asked:
        card.get_by_role("button").click()
    assert asked.value.post_data_json["deadline_ms"] == 4801
    assert "OneSec mini" in over(page.locator("#panel-chat")).inner_text()
    assert page.locator("#deadline").get_attribute("aria-valuetext") == "4.8\xa0s"
    assert page.locator(".card").count() == 1


TROUBLES = {
    "queue_full": (429, "Too many are waiting"),
    "loading": (503, "still being loaded"),
    "draining": (503, "going down"),
    "engine_closed": (503, "engine has ended"),
    "context_length_exceeded": (400, "longer than the model can read"),
    "invalid_request": (400, "could not take this: <b>no</b>"),
    "internal_error": (500, "failed at this request"),
}


@pytest.mark.parametrize("code", TROUBLES)
def test_what_goes_wrong_is_told_in_words(open_page: Open, code: str) -> None:
    status, words = TROUBLES[code]
    page = open_page(expected=FAILED)
    slowly(page)
    body = {"error": {"code": code, "message": "<b>no</b>"}}
    reply(page, "/v1/chat/completions", status=status, body=body)
    card = ask(page.locator("#panel-chat"), "Who are you?")
    assert words in card.inner_text()
    card.get_by_role("button").click()
    assert "OneSec mini" in over(page.locator("#panel-chat")).inner_text()


def test_a_server_that_is_gone_is_told(open_page: Open) -> None:
    page = open_page(expected=("Failed to load resource",))
    page.route("**/v1/**", lambda route: route.abort())
    card = ask(page.locator("#panel-chat"), "Who are you?")
    assert "not reached" in card.inner_text()
    page.wait_for_selector("#state[data-state=away]")


def test_an_answer_that_breaks_off_is_no_answer(open_page: Open) -> None:
    page = open_page()
    reply(page, "/v1/chat/completions", events=streamed(token(0, "Half"), told=DONE)[:-1])
    card = ask(page.locator("#panel-chat"), "Who are you?")
    assert "not reached" in card.inner_text()


HOSTILE = "<img src=x onerror=\"document.title='bad'\"><script>document.title='bad'</script>"


def test_hostile_text_stays_text(open_page: Open) -> None:
    page = open_page()
    chat = page.locator("#panel-chat")
    told = {**DONE, "gears": {HOSTILE: 1}, "stop_reason": HOSTILE}
    tokens = [token(0, HOSTILE, gear=HOSTILE), {"text": HOSTILE}]
    reply(page, "/v1/chat/completions", events=streamed(*tokens, told=told))
    card = ask(chat, HOSTILE)
    assert card.locator(".text").inner_text() == 2 * HOSTILE
    cited = {"start": 0, "end": 5, "text": HOSTILE, "score": 1.0}
    answer = {
        "text": HOSTILE,
        "found": False,
        "citations": [cited],
        "unsupported": [HOSTILE],
        "onesec": {**DONE, "endings": [HOSTILE], "parts": []},
    }
    panel = show(page, "answer")
    panel.locator(".context textarea").fill(HOSTILE)
    reply(page, "/v1/apps/answer", events=[{"part": 0, "delta": HOSTILE}, answer])
    card = ask(panel, HOSTILE)
    assert card.locator(".text").inner_text() == HOSTILE
    assert HOSTILE in card.locator(".rests").inner_text()
    assert page.locator("main img, main script").count() == 0
    assert page.title() == "OneSec"


def test_late_and_cut_are_said_and_confidence_is_seen(open_page: Open) -> None:
    page = open_page()
    with page.expect_request("**/v1/chat/completions") as asked:
        tokens = [token(0, "It"), token(1, " is", "4", confidence=0.3), token(2, " 34", "4")]
        tokens[2]["confidence"] = 0.7
        told = {**DONE, "elapsed_ms": 640.0, "met": False, "ending": "cut", "gears": {"4": 2}}
        land = {"at_ms": 450.0, "kind": "land", "detail": {"room_tokens": 3, "left_ms": 50.0}}
        told["events"] = [land]
        page.locator("label[for=tint-confidence]").click()
        reply(page, "/v1/chat/completions", events=streamed(*tokens, told=told))
        card = ask(page.locator("#panel-chat"), "How much?")
    assert asked.value.post_data_json["logprobs"] is True
    assert "late" in card.locator(".foot").inner_text()
    assert "cut off" in card.locator(".foot").inner_text()
    assert card.locator(".timeline.whole rect.over, .timeline.whole line.landing").count() == 2
    lines = {
        kind: card.locator(f".{kind}").evaluate("n => getComputedStyle(n).textDecorationStyle")
        for kind in ("unsure", "fair")
    }
    assert lines == {"unsure": "wavy", "fair": "dotted"}
    page.screenshot(path=SHOTS / "late.png")


def test_an_answer_can_be_stopped(open_page: Open) -> None:
    page = open_page()
    page.route("**/v1/chat/completions", lambda route: None)  # an answer that does not come
    panel = page.locator("#panel-chat")
    panel.locator(".composer textarea").fill("Hi")
    panel.locator(".composer button").click()
    panel.get_by_role("button", name="Stop").click()
    assert "Stopped by you" in over(panel).inner_text()
    assert panel.locator(".composer button").inner_text() == "Send"


def test_language_and_colours_are_kept(open_page: Open) -> None:
    page = open_page("en", "dark")
    paper = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(paper)
    page.locator("#language").click()
    page.locator("#theme").click()
    light = page.evaluate(paper)
    assert light != dark
    page.reload()
    page.wait_for_selector("#state[data-state=ready]")
    assert page.evaluate("document.documentElement.lang") == "zh-CN"
    assert page.locator("#tab-support").inner_text() == "客服"
    assert page.evaluate(paper) == light
    page.locator("#language").click()
    assert page.locator("#tab-support").inner_text() == "Support"


def test_another_language_says_again_how_an_answer_ended(open_page: Open) -> None:
    page = open_page()
    reply(page, "/v1/chat/completions", events=streamed(token(0, "It"), told=DONE))
    card = ask(page.locator("#panel-chat"), "Hi")
    page.locator("#language").click()
    assert IN_TIME["zh"] in card.locator(".foot").inner_text()


def test_an_address_that_names_no_tab_changes_none(open_page: Open) -> None:
    page = open_page()
    panel = show(page, "support")
    page.locator(".skip").press("Enter")
    page.wait_for_function("location.hash === '#panels'")
    assert panel.is_visible()
    page.evaluate(
        "new Promise((done) => { addEventListener('hashchange', () => done(), {once: true});"
        " location.hash = 'toString'; })"
    )
    assert panel.is_visible()


def test_the_load_is_told_in_plain_numbers(open_page: Open) -> None:
    page = open_page()
    minute = {"met": 57, "missed": 43, "goodput_answers_per_s": 0.25}

    def busy(route: Any) -> None:
        load = route.fetch().json()
        load["minute"] |= {**minute, "hit_rate": 0.57, "goodput_tokens_per_s": 853.2}
        route.fulfill(json=load)

    page.route("**/v1/onesec/load", busy)
    numbers = show(page, "load").locator(".numbers")
    numbers.filter(has_text="850").wait_for()
    assert "57 %" in numbers.inner_text()
    assert "0.25" in numbers.inner_text()


def test_it_asks_after_the_server_only_while_it_is_seen(open_page: Open) -> None:
    page = open_page()
    page.clock.install()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.evaluate(
        "Object.defineProperty(document, 'visibilityState', {value: 'hidden', configurable: true})"
    )
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    page.clock.run_for(60_000)
    assert not asked
    page.evaluate("delete document.visibilityState")
    with page.expect_request("**/v1/onesec/load"):
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


def test_motion_is_left_out_where_nobody_wants_it(open_page: Open) -> None:
    page = open_page(reduced_motion="reduce")
    page.route("**/v1/chat/completions", lambda route: None)
    panel = page.locator("#panel-chat")
    panel.locator(".example").first.click()
    running = panel.locator(".card.running")
    running.wait_for()
    moving = "n => getComputedStyle(n.querySelector('.text'), '::after').animationName"
    assert running.evaluate(moving) == "none"
    assert running.locator(".timeline .now").count() == 0


def test_a_key_stays_in_its_tab(open_page: Open) -> None:
    with serving(ONESEC_API_KEY="secret") as address:
        page = open_page(address=address, expected=FAILED, ready=False)
        box = page.get_by_role("dialog")
        box.wait_for()
        box.locator("input").fill("schlüssel…")
        box.get_by_role("button", name="Use it").click()
        box.locator("input").fill("wrong")
        box.get_by_role("button", name="Use it").click()
        box.locator("input").fill("secret")
        box.get_by_role("button", name="Use it").click()
        page.wait_for_selector("#state[data-state=ready]")
        assert not box.is_visible()
        assert "secret" in page.evaluate("Object.values(sessionStorage)")
        assert "secret" not in json.dumps(page.evaluate("({...localStorage})"))
        assert page.context.cookies() == []
        slowly(page)
        assert "OneSec mini" in ask(page.locator("#panel-chat"), "Who are you?").inner_text()


# A fetch whose answer the test writes piece by piece: window.feed(event), window.endFeed().
FED = """
const real = window.fetch;
window.fetch = (path, options) => {
  if (!String(path).endsWith("chat/completions")) return real(path, options);
  const body = new ReadableStream({start(controller) {
    const encoder = new TextEncoder();
    window.feedBytes = (bytes) => controller.enqueue(new Uint8Array(bytes));
    const data = (event) => encoder.encode(`data: ${JSON.stringify(event)}\\n\\n`);
    window.feed = (event) => controller.enqueue(data(event));
    window.endFeed = () => controller.close();
    options.signal.addEventListener("abort", () => controller.error(options.signal.reason));
  }});
  return Promise.resolve(new Response(body));
};
null;  // else it were called
"""


def test_an_answer_is_seen_while_it_grows(open_page: Open) -> None:
    page = open_page()
    page.evaluate(FED)
    panel = page.locator("#panel-chat")
    panel.locator(".example").first.click()
    card = panel.locator(".card.running")
    card.locator(".timeline .now").wait_for(state="attached")
    first, *rest = streamed(token(0, "It"), token(1, " is", "4", 30.0), told=DONE)
    page.evaluate("feed", first)
    card.locator(".timeline rect.band").wait_for(state="attached")
    page.evaluate("feed", rest[0])
    page.evaluate("feed", rest[1])
    card.locator(".timeline rect.decode").wait_for(state="attached")
    assert card.locator(".text").inner_text() == "It is"
    assert page.locator("#live").inner_text() == ""  # a reader is not told of every token
    page.screenshot(path=SHOTS / "growing.png")
    text = "data: " + json.dumps({"choices": [], "onesec": {"tokens": [token(2, "中")]}})
    raw = text.replace("\\u4e2d", "中").encode()
    for byte in range(0, len(raw), 7):  # however it is cut on its way
        page.evaluate("feedBytes", list(raw[byte : byte + 7]))
    page.evaluate("feedBytes", [10, 10])
    page.evaluate("feed", rest[-1])
    page.evaluate("endFeed()")
    over(panel)
    assert panel.locator(".card .text").inner_text() == "It is中"
    assert "It is中" in page.locator("#live").inner_text()


def test_an_answer_that_is_stopped_keeps_what_came(open_page: Open) -> None:
    page = open_page()
    page.evaluate(FED)
    panel = page.locator("#panel-chat")
    panel.locator(".example").first.click()
    panel.locator(".card.running").wait_for()
    for event in streamed(token(0, "It"), told=DONE)[:-1]:
        page.evaluate("feed", event)
    panel.locator(".card .token").first.wait_for()
    panel.get_by_role("button", name="Stop").click()
    card = over(panel)
    assert card.locator(".text").inner_text() == "It"
    assert "Stopped by you" in card.inner_text()
    with page.expect_request("**/v1/onesec/load"):
        show(page, "load")
