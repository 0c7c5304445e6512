"""A shop's rules about its goods: what can be done with them, until when, where, for how much.

Subjects and values are open-ended and any rule may be asked about any thing, so a rule has to be
found and said, not remembered. It must not know what a tokenizer or a model is.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from . import values, words
from .chat import Turn, capital
from .reading import choose
from .shop import PHRASES
from .values import Maker

# What can be done with a thing: (English participle, Chinese verb).
ACTIONS = words.pairs(
    "returned=退货, exchanged=换货, cancelled=取消, repaired=维修, engraved=刻字, rented=租用, "
    "insured=投保, picked up=自提, sent abroad=寄到国外, assembled=上门安装, cleaned=清洗, "
    "recycled=回收, ordered by phone=电话订购, paid in parts=分期付款, stored=寄存, tested=试用"
)
DOCUMENTS = values.listed(
    "the receipt=收据, a passport=护照, the original box=原包装, a signed form=签字表格, "
    "a membership card=会员卡, the order number=订单号, a photo=照片, the label=标签, "
    "a student card=学生证, the invoice=发票"
)


@dataclass(frozen=True)
class Rule:
    """How one kind of rule is written, asked and answered, in both languages. `{x}` is the thing,
    `{p}` what is done with it, `{v}` the value; `*` marks what is kept for the evaluation."""

    facts: tuple[tuple[str, ...], tuple[str, ...]]
    asks: tuple[tuple[str, ...], tuple[str, ...]]
    replies: tuple[str, str]
    value: Maker | None


RULES: dict[str, Rule] = {
    "until": Rule(
        (
            (
                "The {x} can be {p} within {v}.",
                "{v} to have the {x} {p}.",
                "*You have {v} to get the {x} {p}.",
            ),
            ("{x}在{v}内可以{p}。", "{x}：{v}内可{p}。", "*要{p}{x}，期限是{v}。"),
        ),
        (
            (
                "How long can the {x} be {p}?",
                "Until when can the {x} be {p}?",
                "*What is the time limit to have the {x} {p}?",
            ),
            ("{x}多久内可以{p}？", "{x}几天内能{p}？", "*{p}{x}的时限是多少？"),
        ),
        ("The {x} can be {p} within {v}.", "{x}在{v}内可以{p}。"),
        values.days,
    ),
    "price": Rule(
        (
            (
                "The {x} can be {p} for {v}.",
                "It costs {v} to have the {x} {p}.",
                "*We ask {v} to have the {x} {p}.",
            ),
            ("{x}{p}收费{v}。", "{x}可以{p}，费用是{v}。", "*想把{x}{p}，请付{v}。"),
        ),
        (
            (
                "How much is it to have the {x} {p}?",
                "What does it cost to have the {x} {p}?",
                "*What would I pay if the {x} is {p}?",
            ),
            ("{x}{p}要多少钱？", "{x}{p}怎么收费？", "*给{x}{p}得花多少？"),
        ),
        ("The {x} can be {p} for {v}.", "{x}{p}收费{v}。"),
        values.money,
    ),
    "place": Rule(
        (
            (
                "The {x} can be {p} at {v}.",
                "At {v} the {x} can be {p}.",
                "*Go to {v} to have the {x} {p}.",
            ),
            ("{x}可以在{v}{p}。", "在{v}可以{p}{x}。", "*请到{v}把{x}{p}。"),
        ),
        (
            (
                "Where can the {x} be {p}?",
                "Where can I have the {x} {p}?",
                "*Which place should I visit to have the {x} {p}?",
            ),
            ("{x}在哪里可以{p}？", "在哪儿能{p}{x}？", "*想{p}{x}该去什么地方？"),
        ),
        ("The {x} can be {p} at {v}.", "{x}可以在{v}{p}。"),
        values.venue,
    ),
    "day": Rule(
        (
            (
                "The {x} can only be {p} on {v}.",
                "Only on {v} can the {x} be {p}.",
                "*The day to have the {x} {p} is {v}.",
            ),
            ("{x}只能在{v}{p}。", "只有{v}可以{p}{x}。", "*{p}{x}的日子是{v}。"),
        ),
        (
            (
                "When can the {x} be {p}?",
                "On what day can the {x} be {p}?",
                "*Which day is right to have the {x} {p}?",
            ),
            ("{x}什么时候可以{p}？", "哪天能{p}{x}？", "*想{p}{x}要等到哪一天？"),
        ),
        ("The {x} can only be {p} on {v}.", "{x}只能在{v}{p}。"),
        values.date,
    ),
    "with": Rule(
        (
            (
                "The {x} can only be {p} with {v}.",
                "We need {v} to have the {x} {p}.",
                "*Bring {v} when you want the {x} {p}.",
            ),
            ("{x}凭{v}才能{p}。", "{p}{x}需要{v}。", "*要{p}{x}，请带上{v}。"),
        ),
        (
            (
                "What do I need to have the {x} {p}?",
                "What do you need so that the {x} can be {p}?",
                "*What should I bring to have the {x} {p}?",
            ),
            ("{x}{p}需要什么？", "{p}{x}要提供什么？", "*{p}{x}得带什么来？"),
        ),
        ("The {x} can only be {p} with {v}.", "{x}凭{v}才能{p}。"),
        DOCUMENTS,
    ),
    "never": Rule(
        (
            (
                "The {x} cannot be {p}.",
                "It is not possible to have the {x} {p}.",
                "*Nobody can have the {x} {p}.",
            ),
            ("{x}不能{p}。", "{x}不支持{p}。", "*{x}是不可以{p}的。"),
        ),
        (
            ("Can the {x} be {p}?", "Can I have the {x} {p}?", "*Would you have the {x} {p}?"),
            ("{x}可以{p}吗？", "{x}能{p}吗？", "*{x}给不给{p}？"),
        ),
        ("Sorry, the {x} cannot be {p}.", "抱歉，{x}不能{p}。"),
        None,
    ),
}


@dataclass(frozen=True)
class Policy:
    """One rule of a shop: its kind, the thing, what is done with it, and the value."""

    kind: str
    thing: str
    action: str
    value: str

    def say(self, template: str) -> str:
        """A sentence of this rule."""
        return capital(template.format(x=self.thing, p=self.action, v=self.value))


def make_policies(rng: random.Random, lang: int, held: bool, count: int) -> list[Policy]:
    """Rules, no two about the same thing and action, many about the same thing or action."""
    things = [values.product(rng, lang, held) for _ in range(max(1, count - 1))]
    actions = [a[lang] for a in rng.sample(ACTIONS, max(2, count - 1))]
    found: dict[tuple[str, str], Policy] = {}
    for _ in range(count * 3):
        key = rng.choice(things), rng.choice(actions)
        kind = rng.choice(list(RULES))
        make = RULES[kind].value
        value = make(rng, lang, held) if make else ""
        found.setdefault(key, Policy(kind, *key, value))
        if len(found) == count:
            break
    return list(found.values())


def written(rng: random.Random, policies: list[Policy], lang: int, new: bool) -> list[str]:
    """The rules as notes, a line each."""
    return [p.say(choose(rng, RULES[p.kind].facts[lang], new)) for p in policies]


def ask_policy(
    rng: random.Random, policies: list[Policy], lang: int, held: bool, new: bool
) -> Turn:
    """A question about a rule, seldom about one that there is not."""
    policy = rng.choice(policies)
    rule = RULES[policy.kind]
    if rng.random() < 0.15:
        known = {(p.thing, p.action) for p in policies}
        others = [a[lang] for a in ACTIONS if (policy.thing, a[lang]) not in known]
        thing = policy.thing if rng.random() < 0.7 else values.product(rng, lang, held)
        other = Policy(policy.kind, thing, rng.choice(others), "")
        reply = PHRASES[lang].UNKNOWN["reply"][0]
        asked = other.say(choose(rng, rule.asks[lang], new))
        return Turn("unknown", lang, asked, reply, anything_of=(reply,))
    asks = rule.asks[lang]
    if policy.kind != "never" and rng.random() < 0.3:
        asks = RULES["never"].asks[lang]  # whether it can be done at all
    required = (policy.value,) if policy.value else ("不能" if lang else "cannot",)
    forbidden = ("不能" if lang else "cannot",) if policy.value else ()
    return Turn(
        "policy",
        lang,
        policy.say(choose(rng, asks, new)),
        policy.say(rule.replies[lang]),
        (*required, policy.thing),
        forbidden,
    )
