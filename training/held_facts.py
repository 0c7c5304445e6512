"""Sentences that state facts in words that training never uses, for the evaluation.

One a slot, English and Chinese; `{n}` is the subject, `{v}` the value, `{a}` it with its article.
"""

from __future__ import annotations

HELD_FACTS: dict[str, dict[str, tuple[str, str]]] = {
    "person": {
        "job": ("Everyone knows {n} as {a}.", "大家都知道{n}做{v}。"),
        "city": ("{n} moved to {v} long ago.", "{n}很久以前搬到了{v}。"),
        "age": ("{n} turned {v} this year.", "{n}今年满{v}岁。"),
        "employer": ("{v} pays the salary of {n}.", "{n}的工资由{v}发。"),
        "hobby": ("Nothing pleases {n} more than {v}.", "{n}一有空就{v}。"),
        "friend": ("{n} often meets {v}.", "{n}常常和{v}见面。"),
    },
    "event": {
        "day": ("Mark {v} in your calendar for {n}.", "请记住{n}的日子：{v}。"),
        "time": ("From {v} on you can enter {n}.", "{n}从{v}起入场。"),
        "place": ("You will find {n} at {v}.", "{n}安排在{v}。"),
        "host": ("{v} is behind {n}.", "{n}是{v}办的。"),
        "price": ("To enter {n} you pay {v}.", "进入{n}要花{v}。"),
        "guests": ("There is room for {v} people at {n}.", "{n}可以容纳{v}人。"),
    },
    "company": {
        "city": ("The main office of {n} is found in {v}.", "{n}的办公室设在{v}。"),
        "year": ("The story of {n} began in {v}.", "{n}的历史从{v}算起。"),
        "boss": ("At the top of {n} is {v}.", "{n}由{v}掌管。"),
        "staff": ("The staff of {n} counts {v} people.", "{n}的人手是{v}人。"),
        "product": ("Customers buy the {v} from {n}.", "顾客向{n}买{v}。"),
        "sales": ("{n} ended the year with {v} of profit.", "{n}全年净赚{v}。"),
    },
    "building": {
        "city": ("Travellers see {n} when they come to {v}.", "到{v}可以看到{n}。"),
        "year": ("Workers completed {n} in {v}.", "工人们在{v}完成了{n}。"),
        "height": ("From top to bottom {n} measures {v}.", "{n}从上到下有{v}。"),
        "architect": ("The plans of {n} were drawn by {v}.", "{n}的图纸是{v}画的。"),
        "cost": ("The town paid {v} for {n}.", "为了{n}一共付了{v}。"),
        "visitors": ("{n} welcomes {v} guests each year.", "{n}每年迎来{v}位客人。"),
    },
    "trip": {
        "dest": ("{n} wants to see {v}.", "{n}想去看看{v}。"),
        "day": ("On {v} the journey starts for {n}.", "{n}的旅行从{v}开始。"),
        "transport": ("For the way {n} uses the {v}.", "路上{n}用的是{v}。"),
        "hotel": ("{n} sleeps at {v}.", "{n}晚上睡在{v}。"),
        "companion": ("{v} keeps {n} company.", "{v}给{n}做伴。"),
        "days": ("{n} comes back after {v}.", "{n}过{v}才回来。"),
    },
    "accident": {
        "day": ("It was on {v} that {n} struck.", "{n}出现在{v}。"),
        "hurt": ("Doctors treated {v} people after {n}.", "{n}后医生治疗了{v}人。"),
        "cause": ("Behind {n} was {v}.", "引发{n}的是{v}。"),
        "damage": ("Repairs after {n} cost {v}.", "{n}之后的修理费是{v}。"),
        "helper": ("{v} was first to help after {n}.", "最先为{n}赶来的是{v}。"),
    },
    "match": {
        "score": ("At the end {n} stood at {v}.", "{n}最终是{v}。"),
        "winner": ("{v} took home {n}.", "{v}捧走了{n}。"),
        "place": ("The teams of {n} met at {v}.", "{n}的球队在{v}相遇。"),
        "scorer": ("{v} hit the net last in {n}.", "{n}最后进球的是{v}。"),
        "crowd": ("{v} people came to see {n}.", "来看{n}的有{v}人。"),
    },
    "course": {
        "teacher": ("In {n} you learn from {v}.", "{n}的讲师为{v}。"),
        "room": ("You will find {n} in room {v}.", "上{n}请到{v}教室。"),
        "day": ("From {v} on there are lessons of {n}.", "{n}将于{v}开讲。"),
        "fee": ("You pay {v} for {n}.", "参加{n}需交{v}。"),
        "length": ("After {v} {n} is over.", "{n}要上{v}。"),
    },
    "lake": {
        "near": ("From {v} it is a short walk to {n}.", "从{v}走一会儿就到{n}。"),
        "depth": ("Divers in {n} go down {v}.", "潜到{n}的底有{v}。"),
        "fish": ("Children watch the {v} of {n}.", "孩子们在{n}看{v}。"),
        "owner": ("{n} is the property of {v}.", "{n}归{v}所有。"),
        "boats": ("On {n} one counts {v} boats.", "在{n}能数到{v}条船。"),
    },
    "ticket": {
        "order": ("{n} mentions order {v}.", "{n}提到订单{v}。"),
        "item": ("{n} received the {v}.", "{n}收到了{v}。"),
        "problem": ("{n} complains that {v}.", "{n}抱怨{v}。"),
        "wish": ("{n} hopes for {v}.", "{n}期待{v}。"),
        "phone": ("To call {n}, dial {v}.", "找{n}请拨{v}。"),
        "day": ("We heard from {n} on {v}.", "我们在{v}收到{n}的消息。"),
    },
}
