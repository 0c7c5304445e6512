"""Draws values from an open-ended space: names, places, products, codes, days, amounts.

Every name is made of random syllables or characters, so it can be copied but not remembered.
A checksum splits the space: one name in eight (`held`) is met by the evaluation only.
It must not know which sentences the values stand in.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from . import words
from .shop import clock, draw, is_held_name, product_name

Maker = Callable[[random.Random, int, bool], str]

ONSETS = [
    "b",
    "c",
    "d",
    "f",
    "g",
    "h",
    "j",
    "k",
    "l",
    "m",
    "n",
    "p",
    "r",
    "s",
    "t",
    "v",
    "w",
    "z",
    "br",
    "ch",
    "cr",
    "dr",
    "fl",
    "gr",
    "kl",
    "pl",
    "pr",
    "sh",
    "sl",
    "st",
    "th",
    "tr",
]
FIRST_NAMES = words.listed(
    "Anna Ben Clara David Emma Frank Grace Henry Ivy Jack Kate Leo Maria Nina Oscar Paul Rosa Sam "
    "Tina Victor Wendy Adam Bella Carl Diana Eric Fiona George Helen Ian Julia Kevin Laura Mark "
    "Nora Olga Peter Rachel Simon Tara Uma Vera Will Yusuf Zoe Omar Mei Ravi Aisha Chen Igor Lena"
)


def name(rng: random.Random, held: bool, make: Callable[[], str]) -> str:
    """A made-up name from the wanted part of the space."""
    for _ in range(200):
        text = make()
        if is_held_name(text) == held:
            break
    return text


def latin(rng: random.Random, low: int = 1, high: int = 3) -> str:
    """A made-up Latin word that can be said, with a capital."""
    if rng.random() < 0.2:
        return rng.choice(words.ANY_WORDS).capitalize()
    parts = [
        rng.choice(ONSETS)
        + rng.choice(words.VOWELS)
        + rng.choice(("", "", rng.choice(words.CODAS)))
        for _ in range(rng.randint(low, high))
    ]
    return "".join(parts).capitalize()


def han(rng: random.Random, low: int = 1, high: int = 3) -> str:
    """Random Chinese characters."""
    pool = words.NAME_CHARS if rng.random() < 0.3 else words.ANY_CHARS
    return "".join(rng.choices(pool, k=rng.randint(low, high)))


def person(rng: random.Random, lang: int, held: bool) -> str:
    """A person's name, one or two words."""

    def make() -> str:
        if lang:
            return rng.choice(words.SURNAMES_ZH) + han(rng, 1, 2)
        first = rng.choice(FIRST_NAMES) if rng.random() < 0.5 else latin(rng, 1, 2)
        return f"{first} {latin(rng, 1, 3)}" if rng.random() < 0.8 else latin(rng, 2, 3)

    return name(rng, held, make)


def place(rng: random.Random, lang: int, held: bool) -> str:
    """A town."""

    def make() -> str:
        if lang:
            return han(rng, 1, 3) + rng.choice("市市镇县村城")
        suffix = rng.choice(("ton", "ville", "burg", "ford", "field", "port", "", "", ""))
        return latin(rng, 1, 2 if suffix else 3) + suffix

    return name(rng, held, make)


def org(rng: random.Random, lang: int, held: bool) -> str:
    """A company or society."""
    if lang:
        kinds = ("公司", "集团", "银行", "学校", "医院", "书店", "协会", "工厂", "餐厅", "俱乐部")
        return name(rng, held, lambda: han(rng, 2, 3) + rng.choice(kinds))
    kinds_en = words.listed(
        "Foods Bank Motors School Hospital Books Club Works Group Labs Café Union"
    )
    return name(rng, held, lambda: f"{latin(rng)} {rng.choice(kinds_en)}")


def venue(rng: random.Random, lang: int, held: bool) -> str:
    """A place in a town where things happen."""
    if lang:
        kinds = ("公园", "广场", "大厅", "体育馆", "图书馆", "剧院", "中心", "酒店", "大学", "码头")
        return name(rng, held, lambda: han(rng, 2, 3) + rng.choice(kinds))
    kinds_en = words.listed("Park Hall Square Theatre Library Centre Hotel Stadium Garden Pier")
    return name(rng, held, lambda: f"{latin(rng)} {rng.choice(kinds_en)}")


def product(rng: random.Random, lang: int, held: bool) -> str:
    """Something that is made or sold."""
    return product_name(rng, held)[0][lang]


def number(rng: random.Random, lang: int, held: bool) -> str:
    """A count of things or people."""
    high = rng.choice((90, 900, 9000, 90000))
    return str(draw(rng, held, 12, high))


def age(rng: random.Random, lang: int, held: bool) -> str:
    """A person's age."""
    return str(draw(rng, held, 8, 95))


def year(rng: random.Random, lang: int, held: bool) -> str:
    """A year."""
    text = str(draw(rng, held, 1802, 2025))
    return f"{text}年" if lang else text


def metres(rng: random.Random, lang: int, held: bool) -> str:
    """A height, depth or length."""
    text = str(draw(rng, held, 11, 990))
    unit = rng.choice((("metres", "米"), ("metres", "米"), ("km", "公里")))[lang]
    return f"{text}{unit}" if lang else f"{text} {unit}"


def money(rng: random.Random, lang: int, held: bool) -> str:
    """A price or a sum."""
    amount = draw(rng, held, 5, rng.choice((90, 900, 9000, 99000)))
    text = str(amount) if rng.random() < 0.7 else f"{amount}.{draw(rng, held, 10, 99)}"
    if lang:
        return f"{text}元"
    return rng.choice((f"${text}", f"${text}", f"€{text}", f"£{text}", f"{text} dollars"))


def date(rng: random.Random, lang: int, held: bool) -> str:
    """A weekday or a date."""
    if rng.random() < 0.45:
        return rng.choice(words.DAYS)[lang]
    month, day = rng.randrange(12), rng.randint(1, 30)
    if lang:
        return f"{month + 1}月{day}日"
    return rng.choice((f"{day} {words.MONTHS[month]}", f"{words.MONTHS[month]} {day}"))


def time(rng: random.Random, lang: int, held: bool) -> str:
    """A time of day."""
    style = rng.choice(("24", "24", "12"))
    text = clock(rng.randint(12, 44), style)[lang]
    if style == "24" and rng.random() < 0.5:
        return text.split(":")[0] + f":{rng.choice(('05', '10', '15', '20', '40', '45', '50'))}"
    return text


def code(rng: random.Random, lang: int, held: bool) -> str:
    """A room, order or tracking code."""
    digits = rng.choice((2, 3, 4, 5, 6, 8))
    body = str(draw(rng, held, 10 ** (digits - 1), 10**digits - 1))
    letters = "".join(rng.choices("ABCDEFGHJKLMNPQRSTUVWXYZ", k=rng.choice((0, 0, 1, 1, 2, 3))))
    dash = "-" if letters and rng.random() < 0.3 else ""
    return f"{letters}{dash}{body}"


def street(rng: random.Random, lang: int, held: bool) -> str:
    """An address."""
    house = draw(rng, held, 1, 999)
    if lang:
        road = name(rng, held, lambda: han(rng, 2, 2) + rng.choice(("路", "街", "大道", "巷")))
        return f"{road}{house}号"
    road = name(rng, held, lambda: f"{latin(rng, 1, 3)} {rng.choice(words.STREET_KINDS)}")
    return f"{house} {road}"


def days(rng: random.Random, lang: int, held: bool) -> str:
    """A length of time."""
    count = draw(rng, held, 2, 60)
    unit = rng.choice((("days", "天"), ("weeks", "周"), ("hours", "小时"), ("months", "个月")))
    return f"{count}{unit[1]}" if lang else f"{count} {unit[0]}"


def listed(text: str) -> Maker:
    """A maker that draws from a closed list of `english=中文` items."""
    items = words.pairs(text)
    return lambda rng, lang, held: rng.choice(items)[lang]


job = listed(
    "teacher=老师, doctor=医生, nurse=护士, farmer=农民, baker=面包师, engineer=工程师, "
    "driver=司机, "
    "painter=画家, lawyer=律师, pilot=飞行员, waiter=服务员, cook=厨师, singer=歌手, writer=作家, "
    "dentist=牙医, plumber=水管工, gardener=园丁, tailor=裁缝, actor=演员, librarian=图书管理员, "
    "electrician=电工, carpenter=木匠, journalist=记者, architect=建筑师, chemist=化学家, "
    "judge=法官, "
    "photographer=摄影师, translator=翻译, fisherman=渔夫, soldier=士兵, vet=兽医, accountant=会计"
)
hobby = listed(
    "fishing=钓鱼, chess=下棋, swimming=游泳, cooking=做饭, painting=画画, running=跑步, "
    "reading=读书, "
    "gardening=种花, dancing=跳舞, singing=唱歌, hiking=爬山, cycling=骑车, photography=摄影, "
    "tennis=打网球, football=踢足球, skiing=滑雪, sewing=缝纫, yoga=瑜伽, sailing=划船, "
    "pottery=做陶器, "
    "playing the piano=弹钢琴, playing the guitar=弹吉他, collecting stamps=集邮, baking=烤蛋糕"
)
transport = listed(
    "train=火车, bus=大巴, plane=飞机, car=汽车, ship=轮船, bicycle=自行车, ferry=渡轮, taxi=出租车"
)
cause = listed(
    "a broken cable=电线损坏, a gas leak=煤气泄漏, heavy rain=大雨, a lightning strike=雷击, "
    "a cigarette=烟头, an old heater=老旧的取暖器, strong wind=大风, "
    "a forgotten candle=忘记熄灭的蜡烛, "
    "a faulty battery=电池故障, a burst pipe=水管破裂, melting snow=融雪, "
    "an overloaded truck=超载的卡车, "
    "a fallen tree=倒下的树, thick fog=大雾, icy roads=路面结冰, a short circuit=短路"
)
fish = listed(
    "trout=鳟鱼, carp=鲤鱼, pike=狗鱼, salmon=三文鱼, eels=鳗鱼, perch=鲈鱼, swans=天鹅, "
    "ducks=野鸭, "
    "otters=水獭, frogs=青蛙, turtles=乌龟, herons=苍鹭, cranes=仙鹤, beavers=河狸"
)
PARTS = words.pairs(
    "screen=屏幕, handle=把手, lid=盖子, battery=电池, zip=拉链, button=按钮, strap=带子, "
    "cable=线, "
    "plug=插头, wheel=轮子, box=盒子, switch=开关, leg=支脚, lock=锁, motor=马达, filter=滤网, "
    "lamp=灯, hinge=铰链, fan=风扇, bottom=底部"
)
DEFECTS = words.pairs(
    "is broken=坏了, is missing=不见了, is cracked=裂了, does not work=不能用, is loose=松了, "
    "is scratched=有划痕, "
    "came off=掉了, is stuck=卡住了, is too short=太短了, gets very hot=很烫, leaks=漏水, "
    "makes a noise=有噪音, "
    "is dirty=是脏的, has the wrong colour=颜色不对, smells bad=有怪味, is bent=弯了"
)


def problem(rng: random.Random, lang: int, held: bool) -> str:
    """What is wrong with something."""
    part, defect = rng.choice(PARTS)[lang], rng.choice(DEFECTS)[lang]
    return f"{part}{defect}" if lang else f"the {part} {defect}"


wish = listed(
    "a refund=退款, a replacement=换货, a new one=换一个新的, a repair=维修, a discount=打折, "
    "a call back=回电, the missing part=补发零件, an invoice=发票, a return label=退货单"
)
topic = listed(
    "the budget=预算, the new website=新网站, the office move=搬办公室, the summer party=夏季聚会, "
    "the price list=价格表, the annual report=年度报告, the new logo=新标志, the training=培训, "
    "the holiday plan=休假安排, the sales figures=销售数字, the customer survey=客户调查, "
    "the delivery delays=送货延误, the trade fair=展会, the new product=新产品, the contract=合同"
)
task = listed(
    "write the draft=写草稿, book the room=订会议室, call the supplier=联系供应商, "
    "send the invitations=发邀请, "
    "check the numbers=核对数字, prepare the slides=准备幻灯片, order the food=订餐, "
    "print the flyers=印传单, "
    "update the list=更新名单, talk to the bank=联系银行, find a printer=找印刷厂, "
    "order the samples=订样品"
)
