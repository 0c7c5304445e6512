"""Sentence patterns in English and Chinese, side by side, for translation.

A line is `English = Chinese`; `{…}` are values that stand in both. Lines that start with `*` are
kept for the evaluation. Only words and sentences: no chance.
"""

from __future__ import annotations

from functools import cache

PATTERNS = """
I would like to buy {a_goods}. = 我想买一个{goods}。
I want to buy {n} {things}. = 我想买{n}个{thing}。
Do you have {a_goods}? = 你们有{goods}吗？
How much is this {goods}? = 这个{goods}多少钱？
How much does the {goods} cost? = 这个{goods}要多少钱？
The {goods} costs {money}. = 这个{goods}要{money}。
The {goods} is too expensive. = 这个{goods}太贵了。
The {goods} is very cheap. = 这个{goods}很便宜。
I like this {goods}. = 我喜欢这个{goods}。
I do not like the {goods}. = 我不喜欢这个{goods}。
Can I see the {goods}? = 我可以看看这个{goods}吗？
My {thing} is broken. = 我的{thing}坏了。
My {thing} is lost. = 我的{thing}丢了。
I forgot my {thing} at {place}. = 我把{thing}忘在{place}了。
Where did you buy this {thing}? = 你在哪里买的这个{thing}？
I bought {a_goods} {when_past}. = 我{when_past}买了一个{goods}。
She gave me {a_goods}. = 她给了我一个{goods}。
He is looking for his {thing}. = 他在找他的{thing}。
The {goods} is sold out. = {goods}卖完了。
The {goods} will be back on {day}. = {goods}{day}到货。
Please send me {a_goods}. = 请寄给我一个{goods}。
I want to return the {goods}. = 我想退掉这个{goods}。
I want to exchange this {thing}. = 我想换这个{thing}。
Is this {thing} new? = 这个{thing}是新的吗？
This {thing} is very heavy. = 这个{thing}很重。
This {thing} is too small. = 这个{thing}太小了。
Where is {place}? = {place}在哪里？
How do I get to {place}? = 去{place}怎么走？
Is {place} far from here? = {place}离这里远吗？
{Place} is very close. = {place}很近。
I want to go to {place}. = 我想去{place}。
We are going to {place} {when}. = 我们{when}去{place}。
Please take me to {place}. = 请带我去{place}。
{Place} opens at {clock}. = {place}{clock}开门。
{Place} closes at {clock}. = {place}{clock}关门。
When does {place} open? = {place}什么时候开门？
I will wait for you at {place}. = 我在{place}等你。
Let us meet at {place} at {clock}. = 我们{clock}在{place}见面吧。
The train leaves at {clock}. = 火车{clock}出发。
The bus to {place} comes at {clock}. = 去{place}的公共汽车{clock}到。
The train is {n} minutes late. = 火车晚点{n}分钟。
A ticket costs {money}. = 一张票{money}。
Two tickets to {city}, please. = 请给我两张去{city}的票。
When does the next train to {city} leave? = 下一班去{city}的火车什么时候出发？
How long does it take to get to {city}? = 去{city}要多长时间？
It takes {n} minutes by bus. = 坐公共汽车要{n}分钟。
I live in {city}. = 我住在{city}。
I come from {city}. = 我来自{city}。
{name} lives in {city}. = {name}住在{city}。
I am flying to {city} {when}. = 我{when}坐飞机去{city}。
My room number is {n}. = 我的房间号是{n}。
I booked a room for {n} nights. = 我订了{n}晚的房间。
I have a reservation under the name {name}. = 我用{name}的名字订了房间。
Is breakfast included? = 包括早餐吗？
The room is too {bad_room}. = 房间太{bad_room}了。
May I have the bill, please? = 请给我账单。
I would like {food}, please. = 请给我{food}。
I would like to eat {food}. = 我想吃{food}。
Do you like {food}? = 你喜欢{food}吗？
I do not eat {food}. = 我不吃{food}。
The {food} is delicious. = {food}很好吃。
The {food} is cold. = {food}凉了。
We have no {food} today. = 今天没有{food}。
A table for {few} people, please. = 请给我{few}个人的桌子。
My name is {name}. = 我叫{name}。
This is my friend {name}. = 这是我的朋友{name}。
Do you know {name}? = 你认识{name}吗？
{name} is {a_job}. = {name}是{job}。
My {family} is {a_job}. = 我的{family}是{job}。
My {family} is {n} years old. = 我的{family}{n}岁。
How old is your {family}? = 你的{family}多大了？
My {family} lives in {city}. = 我的{family}住在{city}。
{name} likes {hobby}. = {name}喜欢{hobby}。
I like {hobby}. = 我喜欢{hobby}。
{when_c}, I will be at {place}. = {when}我会在{place}。
I am busy {when}. = 我{when}很忙。
Are you free {when}? = 你{when}有空吗？
What are you doing {when}? = 你{when}做什么？
It will {weather} {when}. = {when}会{weather}。
It is very {temp} {when_now}. = {when_now}很{temp}。
I have been waiting for {n} minutes. = 我等了{n}分钟了。
Please come at {clock}. = 请{clock}来。
The meeting starts at {clock}. = 会议{clock}开始。
The meeting is on {day}. = 会议在{day}。
See you on {day}. = {day}见。
I called you {when_past}. = 我{when_past}给你打了电话。
Please call me at {code}. = 请打{code}联系我。
My phone number is {code}. = 我的电话号码是{code}。
My order number is {code}. = 我的订单号是{code}。
Where is my order {code}? = 我的订单{code}在哪里？
Your order {code} has been shipped. = 您的订单{code}已经发货。
Your order {code} will arrive on {day}. = 您的订单{code}将在{day}送到。
Your order {code} was cancelled. = 您的订单{code}已经取消。
The package arrived {when_past}. = 包裹{when_past}到了。
The package has not arrived yet. = 包裹还没有到。
The delivery takes {n} days. = 送货需要{n}天。
Shipping costs {money}. = 运费是{money}。
You can return it within {n} days. = 您可以在{n}天内退货。
We are closed on {day}. = 我们{day}休息。
We are open from {clock} to {clock2}. = 我们{clock}到{clock2}营业。
Can I pay by {pay}? = 可以用{pay}付款吗？
We accept {pay}. = 我们接受{pay}。
We do not accept {pay}. = 我们不接受{pay}。
I lost my {thing} {when_past}. = 我{when_past}丢了{thing}。
There are {n} people at {place}. = {place}有{n}个人。
There is {a_goods} on the table. = 桌子上有一个{goods}。
The {goods} is in the {room}. = {goods}在{room}里。
Put the {thing} in the {room}, please. = 请把{thing}放在{room}里。
I need {a_goods} for my {family}. = 我需要给我的{family}买一个{goods}。
My {family} bought {a_goods}. = 我的{family}买了一个{goods}。
My {family} went to {place} {when_past}. = 我的{family}{when_past}去了{place}。
{name} will arrive at {clock}. = {name}{clock}到。
{name} and {name2} are at {place}. = {name}和{name2}在{place}。
{name} works at {place}. = {name}在{place}工作。
Can you help me? = 你能帮我吗？
Thank you very much. = 非常感谢。
I do not understand. = 我不明白。
Please speak more slowly. = 请说慢一点。
Nice to meet you. = 很高兴认识你。
Good morning! = 早上好！
Where is the toilet? = 洗手间在哪里？
I am hungry. = 我饿了。
I am tired. = 我累了。
I am sorry I am late. = 对不起，我迟到了。
What time is it? = 现在几点？
It is {clock}. = 现在{clock}。
*Could you show me {a_goods}? = 能给我看一个{goods}吗？
*My {family} lost the {thing}. = 我的{family}丢了{thing}。
*{Place} is closed on {day}. = {place}{day}关门。
*I will go to {city} on {day}. = 我{day}去{city}。
*Where can I buy {a_goods}? = 在哪里可以买到{goods}？
*{name} bought {n} {things}. = {name}买了{n}个{thing}。
*The bus leaves at {clock} on {day}. = 公共汽车{day}{clock}出发。
*I do not want to pay {money}. = 我不想付{money}。
*The room costs {money}. = 房间{money}。
*My friend is {a_job} in {city}. = 我的朋友在{city}当{job}。
*Is the {food} at {place} good? = {place}的{food}好吃吗？
*We will be at {place} at {clock}. = 我们{clock}会在{place}。
"""


@cache
def known() -> tuple[str, ...]:
    """The patterns that are not kept for the evaluation."""
    return tuple(line for line in PATTERNS.strip().split("\n") if not line.startswith("*"))


@cache
def kept() -> tuple[str, ...]:
    """The patterns that are kept for the evaluation, without their mark."""
    return tuple(line[1:] for line in PATTERNS.strip().split("\n") if line.startswith("*"))


PLACES = (
    "the station=车站, the airport=机场, the hotel=酒店, the bank=银行, the hospital=医院, "
    "the post office=邮局, "
    "the museum=博物馆, the library=图书馆, the park=公园, the supermarket=超市, "
    "the market=市场, the school=学校, "
    "the university=大学, the restaurant=餐厅, the café=咖啡馆, the pharmacy=药店, "
    "the police station=警察局, "
    "the bus stop=公交车站, the shop=商店, the cinema=电影院, the theatre=剧院, "
    "the swimming pool=游泳池, "
    "the office=办公室, the beach=海边, the harbour=港口, the church=教堂, the bookshop=书店, "
    "the bakery=面包店"
)
CITIES = (
    "Beijing=北京, Shanghai=上海, Guangzhou=广州, Shenzhen=深圳, Hangzhou=杭州, Nanjing=南京, "
    "Xi'an=西安, "
    "Chengdu=成都, Wuhan=武汉, Paris=巴黎, London=伦敦, Berlin=柏林, Rome=罗马, Tokyo=东京, "
    "New York=纽约, "
    "Sydney=悉尼, Moscow=莫斯科, Madrid=马德里, Singapore=新加坡, Hong Kong=香港"
)
FOODS = (
    "rice=米饭, noodles=面条, soup=汤, bread=面包, fish=鱼, chicken=鸡肉, beef=牛肉, pork=猪肉, "
    "tofu=豆腐, "
    "salad=沙拉, cake=蛋糕, fruit=水果, cheese=奶酪, ice cream=冰淇淋, tea=茶, coffee=咖啡, "
    "milk=牛奶, "
    "orange juice=橙汁, beer=啤酒, dumplings=饺子, pizza=披萨, chocolate=巧克力, honey=蜂蜜, "
    "vegetables=蔬菜"
)
FAMILY = (
    "father=父亲, mother=母亲, brother=哥哥, sister=姐姐, son=儿子, daughter=女儿, wife=妻子, "
    "husband=丈夫, "
    "grandmother=奶奶, grandfather=爷爷, friend=朋友, neighbour=邻居, teacher=老师, boss=老板, "
    "colleague=同事, "
    "uncle=叔叔, aunt=阿姨"
)
WHEN = (
    "tomorrow=明天, tonight=今晚, today=今天, next week=下周, on Monday=周一, on Tuesday=周二, "
    "on Wednesday=周三, "
    "on Thursday=周四, on Friday=周五, on Saturday=周六, on Sunday=周日, "
    "tomorrow morning=明天早上, "
    "tomorrow evening=明天晚上, this afternoon=今天下午, next month=下个月, "
    "the day after tomorrow=后天"
)
WHEN_PAST = (
    "yesterday=昨天, last week=上周, this morning=今天早上, last night=昨晚, last month=上个月, "
    "last year=去年, "
    "two days ago=两天前, on Monday=周一, on Friday=周五, yesterday morning=昨天早上, "
    "an hour ago=一个小时前"
)
WHEN_NOW = "today=今天, now=现在, outside=外面, here=这里, this week=这周, tonight=今晚"
WEATHER = "rain=下雨, snow=下雪, be sunny=是晴天, be windy=刮风, be cloudy=多云"
TEMP = "hot=热, cold=冷, warm=暖和, dark=黑, wet=湿, quiet=安静"
BAD_ROOM = "small=小, cold=冷, hot=热, dark=暗, noisy=吵, dirty=脏, expensive=贵"
ROOMS = (
    "kitchen=厨房, bedroom=卧室, bathroom=浴室, living room=客厅, garden=花园, garage=车库, "
    "office=办公室, "
    "cellar=地下室"
)
