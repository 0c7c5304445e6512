"""The support desk: what the model is shown, what is remembered, what is cited."""

from __future__ import annotations

import pytest
from app_model import FakeModel

from onesec.apps import Entry, Support
from onesec.apps.support import UNKNOWN, Turn, says_unknown
from onesec.core.errors import ContextLengthExceeded, DeadlineInfeasible
from onesec.core.fitted import FitReport

FAQ = [
    Entry("hours", "We open from 9:00 to 18:00.", "Opening hours"),
    Entry("fee", "Delivery costs 5 dollars.\nOver $50 it is free.", "Delivery fee"),
    Entry("time", "It takes 3 days.", "Delivery time"),
    Entry("退货", "七天内可以退货。", "退货"),
]


def desk(reply: str = "Delivery costs 5 dollars.", **options: object) -> tuple[Support, FakeModel]:
    model = FakeModel(reply=lambda prompt: reply, **options)  # type: ignore[arg-type]
    return Support(model, FAQ, clock=model.clock), model


def test_the_prompt_is_the_agreed_one() -> None:
    support, model = desk()
    support.ask("Delivery fee?", records=[{"order": 4821, "status": "shipped"}, "gold\ncustomer"])
    assert model.seen[0] == [
        {
            "role": "system",
            "content": "Answer the customer from these notes. If they do not say, reply: "
            "Sorry, I don't have that information.\n"
            "- Delivery time: It takes 3 days.\n"
            "- Delivery fee: Delivery costs 5 dollars. Over $50 it is free.\n"
            "Records:\n"
            "- order: 4821, status: shipped\n"
            "- gold customer",
        },
        {"role": "user", "content": "Delivery fee?"},
    ]


def test_the_prompt_follows_the_customers_language() -> None:
    support, model = desk("七天内可以退货。")
    answer = support.ask("可以退货吗？", records=["订单4821"])
    assert model.seen[0][0]["content"] == (
        "请根据这些资料回答顾客。资料里没有的，就回答：抱歉，我没有这方面的信息。\n"
        "- 退货：七天内可以退货。\n记录：\n- 订单4821"
    )
    assert answer.sources == ("退货",)


def test_the_reply_is_traced_to_entries_and_records() -> None:
    support, _ = desk("Delivery costs 5 dollars. Order 4821 was shipped.")
    answer = support.ask("How much is delivery?", records=["order: 4821, status: shipped"])
    assert answer.sources == ("fee",)
    assert answer.records == (0,)
    assert answer.known
    assert answer.unsupported == ()
    assert set(answer.sources) <= set(answer.shown)


def test_what_the_model_was_not_given_of_its_notes_is_told() -> None:
    for report in (None, FitReport(dropped_turns=1, removed_chars=40)):
        support, _ = desk(fitted=report)
        assert support.ask("How much is delivery?").fitted == report


def test_an_invented_number_is_told() -> None:
    support, _ = desk("Delivery costs 7 dollars.")
    assert support.ask("How much is delivery?").unsupported == ("7",)


@pytest.mark.parametrize("reply", [*UNKNOWN.values(), "I do not know about that, sorry."])
def test_not_knowing_is_recognised_and_cites_nothing(reply: str) -> None:
    support, _ = desk(reply)
    answer = support.ask("Delivery to the moon?")
    assert not answer.known
    assert answer.sources == ()
    assert says_unknown(reply)


def test_a_short_question_is_looked_up_with_the_one_before() -> None:
    support, model = desk()
    chat = support.conversation()
    chat.ask("What is the delivery fee?")
    chat.ask("And how long?")
    assert "- Delivery time: It takes 3 days." in model.seen[1][0]["content"]
    assert [message["role"] for message in model.seen[1]] == ["system", "user", "assistant", "user"]


def test_old_turns_lose_their_details_then_themselves() -> None:
    support, model = desk()
    chat = support.conversation(memory_tokens=75)
    for number in range(5):
        chat.turns.append(Turn(f"Question {number}?", f"Answer {number}. " + "More words. " * 4))
    answer = chat.ask("Delivery fee?")
    said = [message["content"] for message in model.seen[0][1:-1]]
    assert answer.forgotten == 5 - len(said) // 2
    assert 0 < answer.forgotten < 5
    assert said[-1].startswith("Answer 4.")
    assert said[1].endswith(".")
    assert len(said[1]) < len(chat.turns[0].answer)


def test_a_refused_question_is_not_remembered() -> None:
    support, _ = desk(prompt_ms=1.0)
    chat = support.conversation()
    with pytest.raises(DeadlineInfeasible):
        chat.ask("Delivery fee?", "5ms")
    assert chat.turns == []


def test_less_time_shows_fewer_notes_but_never_none() -> None:
    support, model = desk(prompt_ms=1.0)
    support.ask("What is the delivery fee and time, 退货?", "1s")
    support.ask("What is the delivery fee and time, 退货?", "200ms")
    shown = [messages[0]["content"].count("\n- ") for messages in model.seen]
    assert shown == [3, 1]


def test_a_question_as_long_as_the_context_is_refused_with_numbers() -> None:
    support, _ = desk()
    with pytest.raises(ContextLengthExceeded) as caught:
        support.ask("why " * 10_000)
    assert caught.value.prompt_tokens > caught.value.context_length


def test_long_entries_are_cut_at_a_sentence() -> None:
    model = FakeModel()
    text = "This is a sentence about delivery. " * 40
    Support(model, [Entry("long", text)], clock=model.clock).ask("delivery?")
    note = model.seen[0][0]["content"].split("\n- ")[1]
    assert note.endswith("delivery.")
    assert len(note) <= 600


def test_a_library_is_searched_and_never_read_through() -> None:
    class Shelf:
        def __iter__(self) -> object:
            raise AssertionError("read through")

        def search(self, question: str, limit: int = 8) -> list[Entry]:
            return FAQ[:1]

    model = FakeModel()
    assert Support(model, Shelf(), clock=model.clock).ask("Anything?").shown == ("hours",)


@pytest.mark.parametrize(
    ("reply", "unknown"),
    [
        ("I don't know that.", True),
        ("If you don't know your order number, write to us.", False),
        ("抱歉，我不清楚。", True),
        ("抱歉，暂时查不到。", True),
        ("如果您不清楚尺码，请看尺码表。", False),
        ("物流查不到时请联系客服。", False),
    ],
)
def test_what_the_customer_may_not_know_is_no_refusal(reply: str, unknown: bool) -> None:
    assert says_unknown(reply) is unknown
