"""Makes the turns of a talk with a shop's assistant: what is told, asked and answered.

Every turn carries what a right answer must contain, so the same generator trains and examines.
It must not know how turns become a conversation.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from types import ModuleType

from . import words
from .chat import Turn, capital
from .shop import (
    PHRASES,
    Hours,
    Order,
    Product,
    Shop,
    expand,
    expansions,
    orders,
    product_name,
)


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
        new = tuple(t[1:] for t in templates if t.startswith("*"))
        known = tuple(t for t in templates if not t.startswith("*"))
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


def context_lines(
    rng: random.Random, shop: Shop, lang: int, bullet: str | None = None
) -> list[str]:
    """The shop's facts, a line each, in the order of chance; `bullet` (None: any) opens them."""
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
    if bullet is None:
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


def unsaid(scene: Scene, skill: str, question: str) -> Turn:
    """A question that the facts do not answer: there is one reply to it."""
    reply = scene.phrases.UNKNOWN["reply"][0]
    return Turn(skill, scene.lang, question, reply, anything_of=(reply,))


def ask_missing_topic(scene: Scene) -> Turn | None:
    """A fact that the assistant was not told."""
    missing = [t for t in scene.phrases.TOPICS if t not in scene.shop.facts]
    if not scene.shop.payments and scene.rng.random() < 0.1:
        asks = scene.phrases.PAYMENT["ask"]
    elif not scene.shop.hours and scene.rng.random() < 0.2:
        asks = scene.phrases.HOURS["general"]
    else:
        asks = scene.phrases.TOPICS[scene.rng.choice(missing)]["ask"]
    return unsaid(scene, "unknown", scene.ask(asks))


def ask_unknown(scene: Scene) -> Turn:
    """Things that no shop sheet holds, or that are none of a shop's business."""
    table = scene.phrases.UNKNOWN
    if scene.rng.random() < 0.5:
        return unsaid(scene, "unknown", scene.ask(table["ask"]))
    reply = table["off_reply"][0]
    question = scene.ask(table["off"])
    return Turn("off_topic", scene.lang, question, reply, anything_of=(reply,))


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
    return unsaid(scene, "unknown_product", agree(question, called))


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
    return unsaid(scene, "unknown_order", question)


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
