"""Reading matter of any kind, for training only: who did what, for whom, with whom, where, when and
why, and questions about it. The examination asks of `kinds` alone.

A doing is a verb, its parts, and one to four of the roles below. It must not know what a tokenizer
or a model is.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from . import values, words
from .chat import Conversation, Turn, capital
from .kinds import TEXTS
from .reading import lay_out, with_text
from .values import Maker
from .words import Pair, with_article

FOODS = words.pairs(
    "cake=蛋糕, soup=汤, pizza=披萨, salad=沙拉, sandwich=三明治, pie=馅饼, egg=鸡蛋, apple=苹果, "
    "pear=梨, melon=西瓜, potato=土豆, tomato=番茄, burger=汉堡, pancake=煎饼, noodle=面条, "
    "dumpling=饺子, fish=鱼, chicken=鸡, cheese=奶酪, loaf of bread=面包, cup of tea=茶, "
    "bottle of juice=果汁, bag of rice=米, plum=李子, carrot=胡萝卜, onion=洋葱, banana=香蕉"
)
TEXTS_WRITTEN = words.pairs(
    "letter=信, book=书, poem=诗, report=报告, song=歌, story=故事, diary=日记, recipe=食谱, "
    "article=文章, postcard=明信片, novel=小说, list=清单, message=短信, play=剧本"
)
BEINGS = words.pairs(
    "dog=狗, cat=猫, horse=马, cow=牛, sheep=羊, bird=鸟, rabbit=兔子, duck=鸭子, goat=山羊, "
    "donkey=驴, hen=母鸡, parrot=鹦鹉, fox=狐狸, mouse=老鼠, bee=蜜蜂, pony=小马"
)
BUILT = words.pairs(
    "house=房子, wall=墙, bridge=桥, tower=塔, shed=棚子, church=教堂, school=学校, boat=船, "
    "garage=车库, fence=篱笆, temple=寺庙, road=路, well=井, mill=磨坊, stadium=体育场, dam=水坝"
)
ROOMS = words.pairs(
    "kitchen=厨房, garden=花园, garage=车库, office=办公室, classroom=教室, bathroom=浴室, "
    "cellar=地下室, attic=阁楼, yard=院子, library=图书馆, hall=大厅, shop=商店, stable=马厩"
)
GROWN = words.pairs(
    "tree=树, rose=玫瑰, bush=灌木, flower=花, vine=葡萄藤, tulip=郁金香, cactus=仙人掌, bean=豆子"
)
KIN = words.pairs(
    "brother=弟弟, sister=妹妹, mother=妈妈, father=爸爸, son=儿子, daughter=女儿, uncle=叔叔, "
    "aunt=阿姨, grandmother=奶奶, grandfather=爷爷, cousin=表弟, neighbour=邻居, boss=老板, "
    "friend=朋友, colleague=同事, teacher=老师, wife=妻子, husband=丈夫"
)
PLACES = words.pairs(
    "in the kitchen=厨房, at the station=车站, in the garden=花园, at the market=市场, "
    "in the park=公园, at home=家里, at school=学校, on the beach=海滩上, in the forest=森林里, "
    "at the office=办公室, in the cellar=地下室, on the bus=公交车上, at the airport=机场, "
    "near the river=河边, on the roof=屋顶上, in the street=街上, at the hotel=酒店, "
    "in the library=图书馆, behind the house=房子后面, on the train=火车上, in the mountains=山里"
)
TIMES = words.pairs(
    "yesterday=昨天, last night=昨晚, this morning=今天早上, last week=上周, two days ago=两天前, "
    "in the evening=傍晚, at noon=中午, last summer=去年夏天, on New Year's Eve=除夕, "
    "in spring=春天, after lunch=午饭后, before sunrise=日出前, at midnight=半夜, last year=去年"
)
WHYS = words.pairs(
    "it was raining=下雨了, the shop was closed=商店关门了, it was cheap=很便宜, "
    "the old one was broken=旧的坏了, it was a birthday present=那是生日礼物, "
    "there was nothing else to do=没有别的事可做, the weather was fine=天气很好, "
    "guests were coming=客人要来, it was too late=太晚了, the bus did not come=公交车没来, "
    "the children were hungry=孩子们饿了, everybody was tired=大家都累了, "
    "it was a holiday=那天放假, the doctor said so=医生这么说, it looked nice=看起来不错"
)
COUNTS = words.pairs(
    "two=两, three=三, four=四, five=五, six=六, seven=七, eight=八, nine=九, ten=十, "
    "eleven=十一, twelve=十二, fifteen=十五, twenty=二十, thirty=三十"
)
OBJECTS: dict[str, tuple[Pair, ...]] = {
    "thing": words.THINGS,
    "food": FOODS,
    "text": TEXTS_WRITTEN,
    "being": BEINGS,
    "built": BUILT,
    "room": ROOMS,
    "grown": GROWN,
}
# base, past, participle, Chinese: what it is done to
VERBS = tuple(
    (tuple(forms.split("/")), tuple(kinds.split()))
    for line in """
buy/bought/bought/买: thing food being
sell/sold/sold/卖: thing food being
find/found/found/找到: thing text being
lose/lost/lost/弄丢: thing text being
repair/repaired/repaired/修好: thing built
paint/painted/painted/粉刷: thing built room
borrow/borrowed/borrowed/借: thing text
bring/brought/brought/带来: thing food being
bake/baked/baked/烤: food
cook/cooked/cooked/做: food
eat/ate/eaten/吃: food
order/ordered/ordered/订: thing food
write/wrote/written/写: text
read/read/read/读: text
send/sent/sent/寄: thing text
open/opened/opened/打开: thing
clean/cleaned/cleaned/打扫: room
plant/planted/planted/种: grown
draw/drew/drawn/画: thing being built
build/built/built/建: built
break/broke/broken/打破: thing
wash/washed/washed/洗: thing
hide/hid/hidden/藏: thing text
steal/stole/stolen/偷: thing being food
feed/fed/fed/喂: being
catch/caught/caught/抓: being
sing/sang/sung/唱: text
forget/forgot/forgotten/忘: thing text
choose/chose/chosen/选: thing food text
cut/cut/cut/切: food grown
throw away/threw away/thrown away/扔: thing food
carry/carried/carried/搬: thing
design/designed/designed/设计: built thing
photograph/photographed/photographed/拍: being built
give away/gave away/given away/送: thing being food
wrap/wrapped/wrapped/包: thing text
count/counted/counted/数: being food thing
""".strip().split("\n")
    for forms, kinds in [line.split(": ")]
)


@dataclass(frozen=True)
class Doing:
    """Somebody, a verb, what it was done to (with its article, and as it is spoken of later), and
    the roles that are told, as they are answered."""

    who: str
    verb: tuple[str, ...]
    things: str
    known: str
    noun: str
    told: dict[str, str]


def plural(noun: str) -> str:
    """Several of them; of "cup of tea" the cup."""
    head, of, rest = noun.partition(" of ")
    if head == "fish" or head.endswith(("sheep", "s")):
        return noun
    if head.endswith(("ch", "sh", "x")) or head in ("potato", "tomato"):
        return f"{head}es{of}{rest}"
    if head.endswith("y") and head[-2] not in "aeiou":
        return f"{head[:-1]}ies{of}{rest}"
    return f"{'mice' if head == 'mouse' else 'loaves' if head == 'loaf' else head + 's'}{of}{rest}"


def somebody(rng: random.Random, lang: int) -> str:
    """A full name, a first name, or a relative's."""
    if rng.random() < 0.2:
        return rng.choice(KIN)[lang] if lang else f"the {rng.choice(KIN)[0]}"
    if lang:
        return values.person(rng, lang, False)
    if rng.random() < 0.5:
        return values.person(rng, lang, False)
    return rng.choice(values.FIRST_NAMES) if rng.random() < 0.6 else values.latin(rng, 1, 2)


def _count(rng: random.Random, lang: int, held: bool) -> str:
    return rng.choice(COUNTS)[lang] if rng.random() < 0.7 else values.number(rng, 0, held)


def _phrase(
    common: tuple[Pair, ...], share: float, usual: tuple[str, Maker], rarer: tuple[str, Maker]
) -> Maker:
    """A common phrase, in that share of the cases; else a value behind its preposition."""

    def make(rng: random.Random, lang: int, held: bool) -> str:
        kind, phrase = rng.random(), rng.choice(common)[lang]
        if kind <= share:
            return phrase
        preposition, maker = usual if kind < 0.8 else rarer
        value = maker(rng, lang, held)
        return value if lang else f"{preposition} {value}"

    return make


ROLES: dict[str, Maker] = {
    "count": _count,
    "place": _phrase(PLACES, 0.6, ("in", values.place), ("at", values.venue)),
    "time": _phrase(TIMES, 0.45, ("on", values.date), ("in", values.year)),
    "companion": lambda rng, lang, held: somebody(rng, lang),
    "recipient": lambda rng, lang, held: somebody(rng, lang),
    "why": lambda rng, lang, held: rng.choice(WHYS)[lang],
    "price": values.money,
}
PAID = ("buy", "sell", "order")  # what has a price


def doing(rng: random.Random, lang: int, who: str | None = None) -> Doing:
    """Something that somebody did."""
    verb, kinds = rng.choice(VERBS)
    noun = rng.choice(OBJECTS[rng.choice(kinds)])[lang]
    quality = rng.choice(words.QUALITIES)[lang] if rng.random() < 0.35 else ""
    roles = rng.sample(list(ROLES), rng.choice((1, 2, 2, 3, 3, 4)))
    told = {
        role: ROLES[role](rng, lang, False) for role in roles if role != "price" or verb[0] in PAID
    }
    if not told:
        told["time"] = rng.choice(TIMES)[lang]
    if lang:
        count = told.get("count", "一")
        things, known = f"{count}个{quality}{noun}", f"{quality}{noun}"
    else:
        several = plural(noun) if "count" in told else noun
        known = f"{quality} {several}".strip()
        things = f"{told['count']} {known}" if "count" in told else with_article(known)
        known, noun = f"the {known}", plural(noun)
    return Doing(who or somebody(rng, lang), verb, things, known, noun, told)


def sentences(rng: random.Random, done: Doing, lang: int) -> list[str]:
    """The doing in one sentence, or with some of its roles in another one."""
    told = dict(done.told)
    late = [role for role in told if role in ("place", "time", "price", "why")]
    later = rng.sample(late, 1) if late and len(told) > 1 and rng.random() < 0.35 else []
    first = _sentence(rng, done, {r: v for r, v in told.items() if r not in later}, lang)
    return [first, *(_later(rng, role, told[role], lang) for role in later)]


def _sentence(rng: random.Random, done: Doing, told: dict[str, str], lang: int) -> str:
    _, past, participle, verb = done.verb
    time, place = told.get("time", ""), told.get("place", "")
    if lang:
        spent = "卖了" if done.verb[0] == "sell" else "花了"
        parts = [
            f"因为{told['why']}，" if "why" in told else "",
            *rng.choice(
                ((done.who, time), (time, done.who), (f"{time}，" if time else "", done.who))
            ),
            f"和{told['companion']}一起" if "companion" in told else "",
            f"在{place}" if place else "",
            f"给{told['recipient']}" if "recipient" in told else "",
            f"{verb}了{done.things}",
            f"，{spent}{told['price']}" if "price" in told else "",
        ]
        return f"{''.join(parts)}。"
    tail = [f"for {told['price']}"] if "price" in told else []
    tail += [f"for {told['recipient']}"] if "recipient" in told else []
    tail += [f"with {told['companion']}"] if "companion" in told else []
    tail += [place] if place else []
    front = bool(time) and rng.random() < 0.35
    tail += [time] if time and not front else []
    tail += [f"because {told['why']}"] if "why" in told else []
    if rng.random() < 0.2 and "companion" not in told:
        were = "were" if "count" in told else "was"
        body = " ".join([done.things, were, participle, f"by {done.who}", *tail])
    else:
        body = " ".join([done.who, past, done.things, *tail])
    return f"{capital(time)}, {body}." if front else f"{capital(body)}."


def _later(rng: random.Random, role: str, value: str, lang: int) -> str:
    """A role in a sentence of its own."""
    if lang:
        return {
            "place": f"地点是{value}。",
            "time": f"那是{value}的事。",
            "price": f"一共{value}。",
            "why": f"原因是{value}。",
        }[role]
    if role == "price":
        return f"The price was {value}."
    if role == "why":
        return f"The reason was that {value}."
    return f"{rng.choice(('That was', 'That happened', 'It happened', 'This was'))} {value}."


def question(rng: random.Random, done: Doing, role: str, lang: int) -> str:
    """What asks for a role of a doing; "who" and "what" are roles too."""
    base, past, participle, verb = done.verb
    who, known = done.who, done.known
    if lang:
        asks = {
            "who": (f"谁{verb}了{known}？", f"{known}是谁{verb}的？"),
            "what": (f"{who}{verb}了什么？", f"{who}{verb}的是什么？"),
            "count": (f"{who}{verb}了几个{done.noun}？", f"{who}{verb}了多少{done.noun}？"),
            "place": (f"{who}在哪里{verb}了{known}？", f"{known}是在哪儿{verb}的？"),
            "time": (f"{who}什么时候{verb}了{known}？", f"{known}是什么时候{verb}的？"),
            "companion": (f"{who}和谁一起{verb}了{known}？", f"谁和{who}一起{verb}了{known}？"),
            "recipient": (f"{who}给谁{verb}了{known}？", f"{known}是{verb}给谁的？"),
            "why": (f"{who}为什么{verb}{known}？", f"为什么{verb}{known}？"),
            "price": (f"{known}多少钱？", f"{who}{verb}{known}是多少钱？"),
        }
        return rng.choice(asks[role])
    was = "were" if "count" in done.told else "was"
    asks = {
        "who": (f"Who {past} {known}?", f"Who was it that {past} {known}?"),
        "what": (f"What did {who} {base}?", f"What was it that {who} {past}?"),
        "count": (
            f"How many {done.noun} did {who} {base}?",
            f"How many {done.noun} {was} {participle}?",
        ),
        "place": (f"Where did {who} {base} {known}?", f"Where {was} {known} {participle}?"),
        "time": (f"When did {who} {base} {known}?", f"When {was} {known} {participle}?"),
        "companion": (
            f"Who did {who} {base} {known} with?",
            f"With whom did {who} {base} {known}?",
        ),
        "recipient": (f"Who did {who} {base} {known} for?", f"Who {was} {known} for?"),
        "why": (f"Why did {who} {base} {known}?", f"Why {was} {known} {participle}?"),
        "price": (f"How much {was} {known}?", f"What did {known} cost?"),
    }
    return rng.choice(asks[role])


def _turn(rng: random.Random, all_done: list[Doing], lang: int) -> Turn:
    table = TEXTS[lang]
    done = rng.choice(all_done)
    if rng.random() < 0.35:
        missing = [role for role in ROLES if role not in done.told and role != "price"]
        if rng.random() < 0.5:
            asked = question(rng, done, rng.choice(missing), lang)
        else:  # of somebody else, or of something else
            other = doing(rng, lang)
            asked = question(rng, other, rng.choice(("who", "what", *other.told)), lang)
        return Turn("answer_none", lang, asked, table.NOT_SAID, anything_of=(table.NOT_SAID,))
    role = rng.choice(("who", "what", *done.told, *done.told))
    value = {"who": done.who, "what": done.things}.get(role) or done.told[role]
    return Turn(
        "answer", lang, question(rng, done, role, lang), value, (value,), anything_of=(value,)
    )


def doings_conversation(rng: random.Random, lang: int) -> Conversation:
    """Some questions about a text that tells what people did."""
    table = TEXTS[lang]
    count = rng.choice((1, 2, 2, 3, 3, 4, 5))
    one = somebody(rng, lang) if rng.random() < 0.4 else None
    all_done: list[Doing] = []
    for _ in range(count):
        new = doing(rng, lang, one)
        # Each verb once: then every question has one answer.
        if new.verb not in [done.verb for done in all_done]:
            all_done.append(new)
    parts = [part for done in all_done for part in sentences(rng, done, lang)]
    canonical = rng.random() < 0.7
    system = rng.choice((table.ANSWER_SYSTEM, *table.ANSWER_SYSTEMS))
    chat = Conversation("" if canonical else system)
    asked: set[str] = set()
    for _ in range(rng.choice((1, 2, 3, 4, 5, 6))):
        turn = _turn(rng, all_done, lang)
        if turn.question not in asked:
            chat.turns.append(turn)
            asked.add(turn.question)
    with_text(rng, lang, chat, lay_out(rng, parts, lang), canonical)
    return chat
