"""Makes conversations with a shop's assistant, in English and Chinese, from a seed.

Every turn carries what a right answer must contain, so the same generator trains and examines.
It must not know what a tokenizer or a model is.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType

from . import words
from .shop import (
    PHRASES,
    Hours,
    Order,
    Product,
    Shop,
    expand,
    expansions,
    make_shop,
    orders,
    product_name,
)


@dataclass(frozen=True)
class Turn:
    """A question, its answer, and how to recognise another right answer.

    `required`: each entry must occur (alternatives are separated by `|`). `forbidden`: none may.
    `anything_of`: where set, only one of these sentences is right.
    """

    skill: str
    lang: int
    question: str
    answer: str
    required: tuple[str, ...] = ()
    forbidden: tuple[str, ...] = ()
    anything_of: tuple[str, ...] = ()


@dataclass
class Conversation:
    """The system message (may be empty) and the turns after it."""

    system: str
    turns: list[Turn] = field(default_factory=list)

    def messages(self) -> list[dict[str, str]]:
        """The conversation as chat messages."""
        found = [{"role": "system", "content": self.system}] if self.system else []
        for turn in self.turns:
            found.append({"role": "user", "content": turn.question})
            found.append({"role": "assistant", "content": turn.answer})
        return found


@dataclass
class Scene:
    """What the makers of turns share."""

    rng: random.Random
    shop: Shop
    context_lang: int
    lang: int
    held: bool
    new_phrasing: bool
    style: str = "plain"
    last: Turn | None = None

    @property
    def phrases(self) -> ModuleType:
        """The sentences of the language spoken now."""
        return PHRASES[self.lang]

    def ask(self, templates: tuple[str, ...], **values: str) -> str:
        """A question; its phrasing comes from the half that is wanted."""
        new = [t[1:] for t in templates if t.startswith("*")]
        known = [t for t in templates if not t.startswith("*")]
        text = expand(self.rng, self.rng.choice(new if self.new_phrasing and new else known))
        return text.format(**values)

    def answer(self, table: dict[str, tuple[str, ...]], key: str, **values: str) -> str:
        """An answer in the wanted style: brief, plain, or with an offer to go on."""
        templates = table.get(f"{key}_short" if key != "reply" else "short", table[_reply(key)])
        if self.style != "brief":
            templates = table[_reply(key)]
        text = expand(self.rng, self.rng.choice(templates)).format(**values)
        if self.style == "full":
            gap = "" if self.lang else " "
            text += gap + expand(self.rng, self.rng.choice(self.phrases.OFFER))
        return text


def _reply(key: str) -> str:
    return key if key == "reply" else f"{key}_reply"


PLURAL = re.compile(
    r"(socks|shoes|boots|slippers|trousers|jeans|headphones|sunglasses|sandals|chopsticks)\b"
)
AGREEMENT = (
    (r"\bdoes the ({p})", r"do the \1"),
    (r"\bis the ({p})", r"are the \1"),
    (r"\bIs the ({p})", r"Are the \1"),
    (r"({p}) costs\b", r"\1 cost"),
    (r"({p}) is\b", r"\1 are"),
    (r"much the ({p}) are\b", r"much the \1 are"),
)


def agree(text: str, name: str) -> str:
    """Make verbs agree with a plural product name (`the black shoes cost`)."""
    if PLURAL.search(name):
        for pattern, new in AGREEMENT:
            text = re.sub(pattern.format(p=re.escape(name)), new, text, flags=re.IGNORECASE)
    return text


def capital(text: str) -> str:
    """The text with its first letter in upper case."""
    return text[:1].upper() + text[1:]


def join(items: list[str], lang: int) -> str:
    """A list as people write it."""
    if lang:
        return "、".join(items)
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + " and " + items[-1]


def day_run(first: int, last: int, lang: int, form: int) -> str:
    """A run of days such as Monday to Friday, in one of several forms."""
    days = words.DAYS
    if lang:
        if (first, last) == (0, 6):
            return ("每天", "每日", "周一到周日")[form % 3]
        if form == 3 and (first, last) in ((0, 4), (5, 6)):
            return "工作日" if first == 0 else "周末"
        names = words.OTHER_DAYS_ZH if form == 2 else [d[1] for d in days]
        return names[first] + (("到", "至", "到", "至")[form] + names[last] if last > first else "")
    if (first, last) == (0, 6):
        return ("every day", "daily", "Monday to Sunday", "Mon-Sun")[form]
    if form == 3 and (first, last) in ((0, 4), (5, 6)):
        return "weekdays" if first == 0 else "weekends"
    names = words.SHORT_DAYS if form in (1, 2) else [d[0] for d in days]
    dash = (" to ", "-", "–", " to ")[form]
    return names[first] + (dash + names[last] if last > first else "")


def hours_written(rng: random.Random, hours: Hours, lang: int) -> str:
    """The hours as a shop writes them."""
    form, loose = rng.randrange(4), rng.random() < 0.5
    parts = []
    for first, last in hours.runs:
        run, entry = day_run(first, last, lang, form), hours.days[first]
        if entry is None:
            parts.append(f"{run}{'休息' if lang else ' closed'}")
            continue
        a, b = entry[0][lang], entry[1][lang]
        if lang:
            parts.append(f"{run}{a}{'到' if loose else '-'}{b}")
        else:
            parts.append(f"{run} {a}{' to ' if loose else rng.choice(('-', '–'))}{b}")
    return ("，" if lang else ", ").join(parts)


def hours_spoken(hours: Hours, lang: int) -> tuple[str, tuple[str, ...]]:
    """The hours as a person says them, and the times that must be in it."""
    parts, times = [], []
    for first, last in hours.runs:
        run, entry = day_run(first, last, lang, 0), hours.days[first]
        if entry is None:
            parts.append(f"{run}休息" if lang else f"closed on {run.replace(' to ', ' and ')}")
            continue
        a, b = entry[0][lang], entry[1][lang]
        times += [a, b]
        at = "" if run == "every day" else "on " if first == last else ""
        parts.append(f"{run}{a}到{b}" if lang else f"{at}{run} from {a} to {b}")
    return join(parts, 0) if not lang else "，".join(parts), tuple(times)


# --- what the assistant is told ------------------------------------------------------------


def context_lines(rng: random.Random, shop: Shop, lang: int) -> list[str]:
    """The shop's facts, a line each, in the order of chance."""
    phrases = PHRASES[lang]
    blocks: list[list[str]] = []
    for topic, value in shop.facts.items():
        template = rng.choice(phrases.TOPICS[topic]["fact"])
        blocks.append([expand(rng, template, v=value[lang])])
    if shop.payments:
        listed = join([p[lang] for p in shop.payments], lang)
        blocks.append([expand(rng, rng.choice(phrases.PAYMENT["fact"]), v=listed)])
    if shop.hours:
        template = rng.choice(phrases.HOURS["fact"])
        blocks.append([expand(rng, template, v=hours_written(rng, shop.hours, lang))])
    if shop.products:
        with_stock = any(p.state != "hidden" for p in shop.products)
        template = rng.choice(phrases.PRODUCT["line" if with_stock else "line_price"])
        block = [rng.choice(phrases.PRODUCT["head"])] if rng.random() < 0.5 else []
        for p in shop.products:
            stock = "" if p.state == "hidden" else stock_written(rng, p, lang)
            name = p.name[lang]
            line = template.format(Name=capital(name), name=name, price=p.price[lang], stock=stock)
            block.append(agree(line, name))
        blocks.append(block)
    if shop.orders:
        template = rng.choice(phrases.ORDER["line"])
        block = [rng.choice(phrases.ORDER["head"])] if rng.random() < 0.5 else []
        for order in shop.orders:
            state = rng.choice(phrases.STATES[order.state][0]).format(date=order.date[lang])
            block.append(template.format(id=order.number, state=state))
        blocks.append(block)
    rng.shuffle(blocks)
    bullet = rng.choice(("- ", "- ", "", "", "* ", "• "))
    return [
        line if line.endswith((":", "：")) else bullet + line for block in blocks for line in block
    ]


def stock_written(rng: random.Random, product: Product, lang: int) -> str:
    """A product's stock as a price list has it."""
    template = rng.choice(PHRASES[lang].STOCK[product.state][0])
    return template.format(n=product.count, date=product.date[lang])


# --- makers of turns: each returns a turn, or None where the scene has nothing for it --------


def ask_topic(scene: Scene) -> Turn | None:
    """A single-valued fact, known or not."""
    known = [t for t in scene.phrases.TOPICS if t in scene.shop.facts]
    if not known:
        return None
    topic = scene.rng.choice(known)
    table = scene.phrases.TOPICS[topic]
    value = scene.shop.facts[topic][scene.lang]
    answer = scene.answer(table, "reply", v=value)
    return Turn("fact", scene.lang, scene.ask(table["ask"]), answer, (value,))


def ask_missing_topic(scene: Scene) -> Turn | None:
    """A fact that the assistant was not told."""
    missing = [t for t in scene.phrases.TOPICS if t not in scene.shop.facts]
    unknown = scene.phrases.UNKNOWN
    if not scene.shop.payments and scene.rng.random() < 0.1:
        table = scene.phrases.PAYMENT
    elif not scene.shop.hours and scene.rng.random() < 0.2:
        label = "营业时间" if scene.lang else "the opening hours"
        question = scene.ask(scene.phrases.HOURS["general"])
        answer = expand(scene.rng, scene.rng.choice(unknown["topic_reply"]), topic=label)
        return Turn("unknown", scene.lang, question, answer)
    else:
        table = scene.phrases.TOPICS[scene.rng.choice(missing)]
    answer = scene.rng.choice(unknown["topic_reply"]).format(topic=table["label"][0])
    return Turn("unknown", scene.lang, scene.ask(table["ask"]), answer)


def ask_unknown(scene: Scene) -> Turn:
    """Things that no shop sheet holds, or that are none of a shop's business."""
    table = scene.phrases.UNKNOWN
    kind = scene.rng.choice(("", "off_"))
    question = scene.ask(table["off" if kind else "ask"])
    answer = expand(scene.rng, scene.rng.choice(table[f"{kind}reply"]))
    return Turn("unknown" if not kind else "off_topic", scene.lang, question, answer)


def mention(scene: Scene, product: Product) -> str:
    """How a customer calls a product: by its full name, or by the thing when that is clear."""
    same_thing = [p for p in scene.shop.products if p.thing == product.thing]
    clear = len(same_thing) == 1 and product.thing[0] in product.name[0]
    short = clear and scene.rng.random() < 0.15
    return (product.thing if short else product.name)[scene.lang]


def choose_product(scene: Scene) -> Product | None:
    """A product that can be spoken of in the language of the scene."""
    crossing = scene.lang != scene.context_lang
    fitting = [p for p in scene.shop.products if p.common or not crossing]
    return scene.rng.choice(fitting) if fitting else None


def ask_price(scene: Scene) -> Turn | None:
    """The price of a product; after a price question, sometimes just `and the other one?`."""
    product = choose_product(scene)
    if not product:
        return None
    table, name, price = scene.phrases.PRODUCT, product.name[scene.lang], product.price[scene.lang]
    called = mention(scene, product)
    kinds = ("price_more",) if scene.last and scene.last.skill == "price" else ("price", "sold")
    kind = scene.rng.choices((*kinds, "price"), (1,) * len(kinds) + (3,))[0]
    question = scene.ask(table[kind], name=called)
    key = "sold" if kind == "sold" else "price"
    answer = scene.answer(table, key, name=name, price=price)
    required = (price,) if scene.style == "brief" and key == "price" else (price, name)
    return Turn("price", scene.lang, agree(question, called), agree(answer, name), required)


STOCK_MARKS = (
    {"in": "in stock|we have the", "out": "sold out|out of stock", "no": ("sold out", "out of")},
    {"in": "有货", "out": "卖完|缺货", "no": ("卖完", "缺货")},
)


def ask_stock(scene: Scene) -> Turn | None:
    """Whether a product can be had."""
    product = choose_product(scene)
    if not product or product.state == "hidden":
        return None
    lang, name, date = scene.lang, product.name[scene.lang], product.date[scene.lang]
    called = mention(scene, product)
    both = scene.rng.random() < 0.3
    question = scene.ask(scene.phrases.PRODUCT["both" if both else "stock"], name=called)
    templates = scene.phrases.STOCK[product.state][1]
    answer = scene.rng.choice(templates).format(name=name, n=product.count, date=date)
    marks = STOCK_MARKS[lang]
    required = {
        "in": (str(marks["in"]),),
        "left": (product.count,),
        "out": (str(marks["out"]),),
        "back": (date,),
    }[product.state]
    forbidden = tuple(marks["no"]) if product.state in ("in", "left") else ()
    if both:
        price = product.price[lang]
        told = scene.rng.choice(scene.phrases.PRODUCT["price_reply"])
        first = told.format(name=name, price=price)
        answer = first + ("" if lang else " ") + answer.replace("Yes, ", "").replace("有的，", "")
        answer = answer.replace("有，", "") if lang else _capital_sentences(answer)
        required = (price, *required)
    required += (name,)
    question, answer = agree(question, called), agree(answer, name)
    return Turn("stock", lang, question, answer, required, forbidden)


def _capital_sentences(text: str) -> str:
    return ". ".join(capital(part) for part in text.split(". "))


def ask_list(scene: Scene) -> Turn | None:
    """What there is to buy."""
    if not scene.shop.products or len(scene.shop.products) > 6:
        return None
    if scene.lang != scene.context_lang and not all(p.common for p in scene.shop.products):
        return None
    names = [p.name[scene.lang] for p in scene.shop.products]
    listed = join([name if scene.lang else f"the {name}" for name in names], scene.lang)
    table = scene.phrases.PRODUCT
    answer = expand(scene.rng, scene.rng.choice(table["list_reply"]), names=listed)
    return Turn("list", scene.lang, scene.ask(table["list"]), answer, tuple(names))


def ask_missing_product(scene: Scene) -> Turn | None:
    """A product that is not on the list, often one that resembles what is."""
    name, thing, _ = product_name(scene.rng, scene.held)
    if scene.shop.products and scene.rng.random() < 0.4:
        thing = scene.rng.choice(scene.shop.products).thing
        quality = scene.rng.choice(words.QUALITIES)
        name = f"{quality[0]} {thing[0]}", quality[1] + thing[1]
    called = name[scene.lang]
    listed = [p.name[scene.lang] for p in scene.shop.products]
    if any(called in other or other in called for other in listed) or name == thing:
        return None
    table = scene.phrases.PRODUCT
    question = scene.ask(table[scene.rng.choice(("price", "stock"))], name=called)
    answer = scene.rng.choice(scene.phrases.UNKNOWN["product_reply"]).format(name=called)
    return Turn("unknown_product", scene.lang, agree(question, called), answer, (called,))


def ask_hours(scene: Scene) -> Turn | None:
    """Opening hours: of a day, in general, or now."""
    hours, table, lang = scene.shop.hours, scene.phrases.HOURS, scene.lang
    if not hours:
        return None
    kind = scene.rng.choices(("day", "open", "close", "general", "now"), (3, 3, 3, 3, 1))[0]
    if kind in ("general", "now"):
        spoken, times = hours_spoken(hours, lang)
        text = scene.answer(table, kind, v=spoken)
        return Turn("hours", lang, scene.ask(table[kind]), capital(text), times)
    index = scene.rng.randrange(7)
    if scene.rng.random() < 0.4:
        index = scene.rng.choice((5, 6))
    day = words.DAYS[index][lang]
    if lang and scene.rng.random() < 0.3:
        day = words.OTHER_DAYS_ZH[index]
    more = scene.last is not None and scene.last.skill == "hours_day" and scene.rng.random() < 0.6
    if more:
        kind = "day"
    question = scene.ask(table["day_more" if more else kind], day=day)
    entry = hours.days[index]
    if entry is None:
        answer = scene.answer(table, "closed", day=day)
        mark = "休息|不营业" if lang else "closed|do not open"
        return Turn("hours_day", lang, question, answer, (mark,))
    a, b = entry[0][lang], entry[1][lang]
    answer = scene.answer(table, kind, day=day, a=a, b=b)
    required = {"day": (a, b), "open": (a,), "close": (b,)}[kind]
    marks = ("休息", "不营业") if lang else ("closed",)
    return Turn("hours_day", lang, question, capital(answer), required, marks)


def order_answer(scene: Scene, order: Order) -> tuple[str, tuple[str, ...]]:
    """What is said of an order, and what must be in it."""
    lang, date = scene.lang, order.date[scene.lang]
    template = scene.rng.choice(scene.phrases.STATES[order.state][1])
    marks: dict[str, tuple[str, str]] = {
        "packed": ("packed", "打包"),
        "cancelled": ("cancelled", "取消"),
        "unpaid": ("payment|paid", "付款"),
        "delayed": ("delayed", "延"),
        "delivered": ("delivered", "送达"),
        "shipped": ("on the way|shipped", "已发货|在路上"),
    }
    required: tuple[str, ...] = (marks[order.state][lang],)
    required += (date,) if "{date}" in template else ()
    required += (order.number,)
    return template.format(id=order.number, date=date), required


def ask_order(scene: Scene) -> Turn | None:
    """The state of an order named by its number; after `which order?`, just the number."""
    if not scene.shop.orders:
        return None
    order = scene.rng.choice(scene.shop.orders)
    answer, required = order_answer(scene, order)
    asked = scene.last is not None and scene.last.skill == "order_bare"
    question = scene.ask(scene.phrases.ORDER["number" if asked else "ask"], id=order.number)
    return Turn("order", scene.lang, question, answer, required)


def ask_order_bare(scene: Scene) -> Turn:
    """A customer who forgets to say which order."""
    table = scene.phrases.ORDER
    answer = expand(scene.rng, scene.rng.choice(table["bare_reply"]))
    mark = "订单号" if scene.lang else "order number|number"
    return Turn("order_bare", scene.lang, scene.ask(table["ask_bare"]), answer, (mark,))


def ask_missing_order(scene: Scene) -> Turn | None:
    """An order number that the assistant was not told."""
    number = orders(scene.rng, scene.held, 1)[0].number
    if any(number in o.number or o.number in number for o in scene.shop.orders):
        return None
    question = scene.ask(scene.phrases.ORDER["ask"], id=number)
    answer = scene.rng.choice(scene.phrases.ORDER["unknown_reply"]).format(id=number)
    return Turn("unknown_order", scene.lang, question, answer, (number,))


def ask_payment(scene: Scene) -> Turn | None:
    """Ways to pay, in general or one of them."""
    if not scene.shop.payments:
        return None
    table, lang = scene.phrases.PAYMENT, scene.lang
    names = [p[lang] for p in scene.shop.payments]
    listed = join(names, lang)
    if scene.rng.random() < 0.4:
        answer = scene.answer(table, "reply", v=listed)
        return Turn("payment", lang, scene.ask(table["ask"]), answer, tuple(names))
    method = scene.rng.choice(words.PAYMENTS)
    if scene.rng.random() < 0.5:
        method = scene.rng.choice(scene.shop.payments)
    question = scene.ask(table["ask_one"], m=method[lang])
    if method in scene.shop.payments:
        answer = scene.rng.choice(table["yes"]).format(m=method[lang])
        no = ("不支持", "不能") if lang else ("not accept", "No,")
        return Turn("payment", lang, question, answer, (method[lang],), no)
    answer = scene.rng.choice(table["no"]).format(m=method[lang], v=listed)
    mark = "不" if lang else "not|No,"
    return Turn("payment", lang, question, answer, (mark, *names))


def talk(scene: Scene) -> Turn:
    """Small talk."""
    kind = scene.rng.choice(tuple(scene.phrases.TALK))
    table = scene.phrases.TALK[kind]
    replies = table["reply_nameless"] if kind == "who" and not scene.shop.name else table["reply"]
    answer = expand(scene.rng, scene.rng.choice(replies)).format(shop=scene.shop.name)
    right = {s.format(shop=scene.shop.name) for r in replies for s in expansions(r)}
    question = scene.ask(table["ask"])
    return Turn("talk", scene.lang, question, answer, anything_of=tuple(sorted(right)))


Maker = Callable[[Scene], Turn | None]
MAKERS: tuple[tuple[Maker, float], ...] = (
    (ask_price, 5),
    (ask_topic, 6),
    (ask_hours, 5),
    (ask_stock, 4),
    (ask_order, 4.5),
    (ask_payment, 1.5),
    (ask_list, 1.2),
    (ask_order_bare, 0.6),
    (ask_missing_topic, 1.6),
    (ask_missing_product, 2),
    (ask_missing_order, 0.7),
    (ask_unknown, 1),
    (talk, 2.5),
)


# --- conversations ---------------------------------------------------------------------------


def rough(scene: Scene, question: str) -> str:
    """A question as people type it: greetings, no capitals, no question mark, a slip."""
    rng, phrases = scene.rng, scene.phrases
    bare = question
    if rng.random() < 0.12:
        opener = rng.choice(phrases.OPENERS)
        lower = bare[:1].lower() + bare[1:] if opener.endswith(", ") else bare
        bare = opener + (bare if lower.startswith(("i ", "i'")) else lower)
    if rng.random() < 0.2 and not scene.lang:
        bare = bare.lower()
    if rng.random() < 0.22:
        bare = bare.rstrip("?？。.")
    elif scene.lang and rng.random() < 0.2:
        bare = bare.replace("？", "?").replace("，", ",")
    if rng.random() < 0.04 and bare.endswith(("?", "？", ".", "。")):
        bare += rng.choice(phrases.TAILS)
    if rng.random() < 0.04 and not scene.lang:
        bare = slip(rng, bare)
    return bare


def slip(rng: random.Random, text: str) -> str:
    """One typing mistake, in a word without digits."""
    spots = [i for i in range(1, len(text) - 1) if text[i - 1 : i + 2].isalpha()]
    if not spots:
        return text
    i = rng.choice(spots)
    return rng.choice((text[:i] + text[i + 1 :], text[:i] + text[i] + text[i:]))


def system_message(scene: Scene, facts: str) -> str:
    """The system message: who the assistant is, rules, facts, style."""
    rng, phrases = scene.rng, PHRASES[scene.context_lang]
    nameless = not scene.shop.name
    head = rng.choice(phrases.SYSTEM_NAMELESS if nameless else phrases.SYSTEM)
    parts = [expand(rng, head).format(shop=scene.shop.name)]
    style = {"brief": phrases.BRIEF, "full": phrases.FULL}.get(scene.style)
    if style:
        parts.append(expand(rng, rng.choice(style)))
    if facts:
        parts.append(expand(rng, rng.choice(phrases.RULES)))
    gap = "" if scene.context_lang else " "
    lead = gap.join(p for p in parts if p)
    return rng.choice(("\n", "\n", "\n\n")).join(p for p in (lead, facts) if p)


def conversation(
    rng: random.Random,
    held: bool = False,
    new_phrasing: bool = False,
    only: Maker | None = None,
    lang: int | None = None,
    size: float | None = None,
    crossing: float = 0.15,
) -> Conversation | None:
    """One conversation. `only` makes its last turn of one kind (None if the shop cannot)."""
    context_lang = rng.randrange(2) if lang is None else lang
    spoken = 1 - context_lang if rng.random() < crossing else context_lang
    if size is None:
        size = rng.choices((0.6, 1.0, 1.6, 3.0), (4, 5, 2, 0.4))[0]
    shop = make_shop(rng, held, context_lang, size)
    if rng.random() < 0.35:
        hide_stock(shop)
    if rng.random() < 0.06:
        shop = Shop("")
    elif rng.random() < 0.12:
        shop.name = ""
    scene = Scene(rng, shop, context_lang, spoken, held, new_phrasing)
    scene.style = rng.choices(("plain", "brief", "full"), (8, 1.2, 0.8))[0]
    lines = context_lines(rng, shop, context_lang)
    loose = all(line.endswith((".", "。")) for line in lines) and rng.random() < 0.4
    facts = ("" if context_lang else " ").join(lines) if loose else "\n".join(lines)
    in_user = bool(facts) and rng.random() < 0.08
    chat = Conversation(system_message(scene, "" if in_user else facts))
    count = rng.choices((1, 2, 3, 4, 5), (2, 2, 3, 3, 2))[0]
    makers, weights = [m for m, _ in MAKERS], [w for _, w in MAKERS]
    asked: set[str] = set()
    for number in range(count):
        final = number == count - 1
        turn = None
        for _ in range(8):
            if only and final:
                maker = only
            elif scene.last and scene.last.skill == "order_bare":
                maker = rng.choice((ask_order, ask_missing_order, ask_order))
            else:
                maker = rng.choices(makers, weights)[0]
            turn = maker(scene)
            if turn and turn.answer not in asked:
                break
        if not turn:
            return None if only else (chat if chat.turns else None)
        asked.add(turn.answer)
        scene.last = turn
        question = rough(scene, turn.question)
        if in_user and not chat.turns:
            template = rng.choice(PHRASES[context_lang].IN_USER)
            question = template.format(facts=facts, q=question)
        chat.turns.append(_with_question(turn, question))
        if rng.random() < 0.05 and crossing:
            scene.lang = 1 - scene.lang
    return chat


def hide_stock(shop: Shop) -> None:
    """Make the price list one of prices only."""
    shop.products = [
        Product(p.name, p.thing, p.price, "hidden", p.count, p.date, p.common)
        for p in shop.products
    ]


def _with_question(turn: Turn, question: str) -> Turn:
    return Turn(
        turn.skill,
        turn.lang,
        question,
        turn.answer,
        turn.required,
        turn.forbidden,
        turn.anything_of,
    )


# --- translation -----------------------------------------------------------------------------


def parallel(rng: random.Random, held: bool) -> tuple[str, str]:
    """A shop sentence in both languages."""
    lang = rng.randrange(2)
    shop = make_shop(rng, held, lang, 1.0)
    kind = rng.choice(("fact", "fact_ask", "price", "price_ask", "stock", "order", "hours", "talk"))
    en, zh = PHRASES
    if kind in ("fact", "fact_ask") and shop.facts:
        topic, value = rng.choice(list(shop.facts.items()))
        key = "ask" if kind == "fact_ask" else "reply"
        return _first(en.TOPICS[topic][key], zh.TOPICS[topic][key], v=value)
    goods = [p for p in shop.products if p.common]
    if kind in ("price", "price_ask", "stock") and goods:
        p = rng.choice(goods)
        if kind == "stock":
            a, b = en.STOCK[p.state][1], zh.STOCK[p.state][1]
            return _first(a, b, name=p.name, n=(p.count, p.count), date=p.date)
        key = "price" if kind == "price_ask" else "price_reply"
        both = _first(en.PRODUCT[key], zh.PRODUCT[key], name=p.name, price=p.price)
        return agree(both[0], p.name[0]), both[1]
    if kind == "order" and shop.orders:
        o = rng.choice(shop.orders)
        a, b = en.STATES[o.state][1], zh.STATES[o.state][1]
        return _first(a, b, id=(o.number, o.number), date=o.date)
    if kind == "hours" and shop.hours:
        index = rng.randrange(7)
        entry, day = shop.hours.days[index], words.DAYS[index]
        if entry:
            key = rng.choice(("open_reply", "close_reply", "day_reply"))
            return _first(en.HOURS[key], zh.HOURS[key], day=day, a=entry[0], b=entry[1])
        return _first(en.HOURS["closed_reply"], zh.HOURS["closed_reply"], day=day)
    topic = rng.choice(("greet", "thanks", "how", "bye"))
    return _first(en.TALK[topic]["reply"], zh.TALK[topic]["reply"])


def _first(
    english: tuple[str, ...], chinese: tuple[str, ...], **values: tuple[str, ...]
) -> tuple[str, str]:
    rng = FirstChoice()
    return (
        expand(rng, english[0]).format(**{k: v[0] for k, v in values.items()}),
        expand(rng, chinese[0]).format(**{k: v[1] for k, v in values.items()}),
    )


class FirstChoice(random.Random):
    """A source of chance that always takes the first option."""

    def choice(self, seq):  # type: ignore[no-untyped-def]
        return seq[0]


def translation(rng: random.Random, held: bool = False, lang: int | None = None) -> Conversation:
    """One to three sentences to translate; `lang` is the language that is translated into."""
    target = rng.randrange(2) if lang is None else lang
    source = 1 - target
    phrases = PHRASES[source]
    by_system = rng.random() < 0.5
    chat = Conversation(expand(rng, rng.choice(phrases.TRANSLATE_SYSTEM)) if by_system else "")
    for _ in range(rng.randint(1, 3)):
        both = parallel(rng, held)
        text = both[source]
        if not by_system:
            text = expand(rng, rng.choice(phrases.TRANSLATE)).format(s=text)
        exact = (both[target],)
        chat.turns.append(Turn("translate", target, text, both[target], anything_of=exact))
    return chat


def training_conversations(seed: int, count: int, translations: float = 0.06) -> list[Conversation]:
    """The training text: `count` conversations, the same for the same seed."""
    rng = random.Random(seed)
    found: list[Conversation] = []
    while len(found) < count:
        if rng.random() < translations:
            found.append(translation(rng))
        elif chat := conversation(rng):
            found.append(chat)
    return found


SKILLS: dict[str, Maker] = {
    "price": ask_price,
    "fact": ask_topic,
    "hours": ask_hours,
    "stock": ask_stock,
    "order": ask_order,
    "payment": ask_payment,
    "list": ask_list,
    "order_bare": ask_order_bare,
    "unknown": ask_missing_topic,
    "unknown_product": ask_missing_product,
    "unknown_order": ask_missing_order,
    "off_topic": ask_unknown,
    "talk": talk,
}


def examination(
    seed: int, per_skill: int, new_phrasing: bool, crossing: bool = False
) -> list[tuple[str, Conversation]]:
    """Held-out conversations, labelled by skill; the last turn of each is examined."""
    rng = random.Random(seed)
    found: list[tuple[str, Conversation]] = []
    for skill, maker in SKILLS.items():
        for lang in (0, 1):
            made = 0
            while made < per_skill:
                context_lang = 1 - lang if crossing else lang
                chat = conversation(
                    rng, True, new_phrasing, maker, context_lang, None, float(crossing)
                )
                if chat and chat.turns[-1].lang == lang:
                    found.append((skill, chat))
                    made += 1
    for lang in (0, 1):
        found += [("translate", translation(rng, True, lang)) for _ in range(per_skill)]
    return found
