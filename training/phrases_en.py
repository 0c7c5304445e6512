"""English sentences of the shop world: how facts are written, questions asked, answers given.

`[a|b]` is a choice and `{name}` a value. Only sentences: no chance and no values. In `ask`, a
sentence that starts with `*` is kept for the evaluation and never used for training.
"""

from __future__ import annotations

TOPICS: dict[str, dict[str, tuple[str, ...]]] = {
    "delivery_time": {
        "label": ("delivery time", "delivery", "how long delivery takes"),
        "fact": (
            "[Delivery|Shipping] [time: |takes ]{v}.",
            "[Delivery|Shipping]: {v}.",
            "We deliver [in|within] {v}.",
            "Orders arrive [in|within] {v}.",
        ),
        "ask": (
            "How long does [delivery|shipping] take?",
            "How [many days|long] [until|before] my [parcel|package|order] arrives?",
            "When will my [parcel|package|things] [arrive|come] if I order [now|today]?",
            "How fast [do you deliver|is delivery|is your shipping]?",
            "What is the [delivery|shipping] time?",
            "How soon can you deliver?",
            "How long do I have to wait for [delivery|my order]?",
            "*How many days does it take to get an order?",
            "*If I buy something today, how long will shipping take?",
        ),
        "short": ("{v}.", "It takes {v}."),
        "reply": (
            "[Delivery|Shipping] takes {v}.",
            "Your order will arrive within {v}.",
            "We deliver within {v}.",
        ),
    },
    "delivery_fee": {
        "label": ("the delivery fee", "delivery costs"),
        "fact": (
            "[Delivery|Shipping] [fee|cost|costs]: {v}.",
            "[Delivery|Shipping] costs {v}.",
            "The [delivery|shipping] fee is {v}.",
        ),
        "ask": (
            "How much [is|does] [delivery|shipping][| cost]?",
            "What does [delivery|shipping] cost?",
            "What is the [delivery|shipping] [fee|cost|price]?",
            "How much do you charge for [delivery|shipping]?",
            "How much do I pay for [delivery|shipping]?",
            "*What do I have to pay to get it delivered?",
            "*Could you tell me your shipping charge?",
        ),
        "short": ("{v}.", "It costs {v}."),
        "reply": (
            "[Delivery|Shipping] costs {v}.",
            "The [delivery|shipping] fee is {v}.",
            "We charge {v} for [delivery|shipping].",
        ),
    },
    "free_delivery": {
        "label": ("free delivery",),
        "fact": (
            "Free [delivery|shipping] [over|from] {v}.",
            "[Delivery|Shipping] is free for orders over {v}.",
            "Orders over {v} ship free.",
        ),
        "ask": (
            "Do you [have|offer] free [delivery|shipping]?",
            "When is [delivery|shipping] free?",
            "Is there free [delivery|shipping]?",
            "How much [must I|do I have to] spend for free [delivery|shipping]?",
            "How do I get free [delivery|shipping]?",
            "*From what amount is shipping free?",
            "*Can I get delivery for free?",
        ),
        "short": ("Over {v}.", "For orders over {v}."),
        "reply": (
            "[Delivery|Shipping] is free for orders over {v}.",
            "Yes, [delivery|shipping] is free when you spend more than {v}.",
        ),
    },
    "returns": {
        "label": ("returns", "the return policy"),
        "fact": (
            "Returns: [within |]{v}.",
            "Returns [are |]accepted within {v}.",
            "You can return [items|goods] within {v}.",
            "Return period: {v}.",
        ),
        "ask": (
            "Can I [return|send back] [it|an item|something|my order]?",
            "How long do I have to [return|send back] [it|an item|something]?",
            "What is your return policy?",
            "How many days do I have for [a return|returns]?",
            "What if I don't like it?",
            "I want to return [it|something|my order].",
            "Until when can I [return|send back] [it|something]?",
            "*I changed my mind. How long can I send it back?",
            "*What are your rules about returns?",
        ),
        "short": ("Within {v}.", "You have {v}."),
        "reply": (
            "You can return [it|items] within {v}.",
            "You have {v} to return [it|your order].",
            "Returns are accepted within {v}.",
        ),
    },
    "refund": {
        "label": ("refunds", "how long a refund takes"),
        "fact": (
            "Refunds take {v}.",
            "Refund time: {v}.",
            "Refunds: within {v}.",
            "Money back [in|within] {v} after a return.",
        ),
        "ask": (
            "How long does [a|the|my] refund take?",
            "When [do|will] I get my money back?",
            "When will I [get|receive] my refund?",
            "How fast are refunds?",
            "I returned it. When do I get my refund?",
            "*How many days until the money is back in my account?",
        ),
        "short": ("{v}.", "It takes {v}."),
        "reply": (
            "Refunds take {v}.",
            "You will get your money back within {v}.",
            "Your refund arrives within {v}.",
        ),
    },
    "warranty": {
        "label": ("the warranty", "a warranty"),
        "fact": (
            "[Warranty|Guarantee]: {v}.",
            "All products [have|come with] a [warranty|guarantee] of {v}.",
            "The warranty lasts {v}.",
        ),
        "ask": (
            "How long is the [warranty|guarantee]?",
            "Is there a [warranty|guarantee]?",
            "Do [your products|they|you] have a [warranty|guarantee]?",
            "What [warranty|guarantee] do you [give|offer]?",
            "What about the [warranty|guarantee]?",
            "How long does the [warranty|guarantee] last?",
            "*If it breaks, how long am I covered by the warranty?",
            "*Does it come with a guarantee?",
        ),
        "short": ("{v}.", "It is {v}."),
        "reply": (
            "The [warranty|guarantee] is {v}.",
            "All our products come with a warranty of {v}.",
            "The warranty lasts {v}.",
        ),
    },
    "address": {
        "label": ("the address",),
        "fact": ("Address: {v}.", "[We are|The shop is] at {v}.", "Location: {v}."),
        "ask": (
            "Where are you?",
            "Where is [your|the] [shop|store]?",
            "What is [your|the] address?",
            "Where can I find you?",
            "How do I [find|get to] [you|the shop|your store]?",
            "What's the address of [your|the] [shop|store]?",
            "*Can you give me your address, please?",
            "*Which street are you on?",
        ),
        "short": ("{v}.",),
        "reply": (
            "We are at {v}.",
            "[Our address is|You can find us at] {v}.",
            "The shop is at {v}.",
        ),
    },
    "phone": {
        "label": ("a phone number", "the phone number"),
        "fact": ("Phone: {v}.", "Tel: {v}.", "Call us [at|on] {v}.", "Our phone number is {v}."),
        "ask": (
            "What is your [phone |telephone |]number?",
            "How can I call you?",
            "Do you have a phone number?",
            "Can I [call|phone] you?",
            "Which number can I call?",
            "I want to [call|phone] [you|the shop].",
            "*Could I have your telephone number?",
        ),
        "short": ("{v}.",),
        "reply": (
            "[You can call us|Please call us] [at|on] {v}.",
            "Our phone number is {v}.",
        ),
    },
    "email": {
        "label": ("an email address", "the email address"),
        "fact": ("Email: {v}.", "E-mail: {v}.", "Write to {v}.", "Contact: {v}."),
        "ask": (
            "What is your email[| address]?",
            "How can I [email|write to] you?",
            "Do you have an email address?",
            "Can I send [you |]an email?",
            "Where can I write to?",
            "*Which email should I use to contact you?",
        ),
        "short": ("{v}.",),
        "reply": ("[You can write to us|Please email us] at {v}.", "Our email is {v}."),
    },
    "gift_wrap": {
        "label": ("gift wrapping",),
        "fact": ("Gift wrapping: {v}.", "Gift wrapping costs {v}.", "We wrap gifts for {v}."),
        "ask": (
            "Do you [offer|do|have] gift wrapping?",
            "How much is gift wrapping?",
            "Can you [wrap it as a gift|gift wrap it|wrap it]?",
            "What does gift wrapping cost?",
            "It's a present. Can you wrap it?",
            "*How much to have it wrapped as a gift?",
        ),
        "short": ("{v}.", "It costs {v}."),
        "reply": ("Gift wrapping costs {v}.", "Yes, we can wrap it as a gift for {v}."),
    },
    "coupon": {
        "label": ("a discount code", "discounts"),
        "fact": (
            "[Coupon|Discount code|Code]: {v}.",
            "Use [code|coupon] {v}.",
            "The [coupon|discount code] is {v}.",
        ),
        "ask": (
            "Do you have a [coupon|discount code|promo code|discount]?",
            "Is there a [coupon|discount code|promo code|discount]?",
            "What is the [coupon|discount|promo] code?",
            "Any [coupons|discounts]?",
            "Can I get a discount?",
            "*Are there any promo codes I could use?",
        ),
        "short": ("{v}.",),
        "reply": ("[Yes, you|You] can use the code {v}.", "The discount code is {v}."),
    },
    "student": {
        "label": ("a student discount",),
        "fact": ("Student discount: {v}.", "Students get {v} off.", "{v} off for students."),
        "ask": (
            "Do you have a student discount?",
            "I'm a student. [Do I get|Is there] a discount?",
            "How much is the student discount?",
            "Is there a discount for students?",
            "*What do students save?",
        ),
        "short": ("{v}.", "{v} off."),
        "reply": ("Students get {v} off.", "The student discount is {v}."),
    },
    "parking": {
        "label": ("parking",),
        "fact": ("Parking: {v}.", "You can park {v}.", "Free parking {v}."),
        "ask": (
            "Where can I park?",
            "Is there parking?",
            "Do you have [parking|a car park]?",
            "Can I park [my car|there|near you]?",
            "*I'm coming by car, where do I leave it?",
        ),
        "short": ("{v}.",),
        "reply": ("You can park {v}.", "There is parking {v}."),
    },
    "wifi": {
        "label": ("the Wi-Fi password",),
        "fact": ("Wi-Fi password: {v}.", "Wifi: {v}.", "The Wi-Fi password is {v}."),
        "ask": (
            "What is the [Wi-Fi|wifi] password?",
            "Do you have [Wi-Fi|wifi]?",
            "Can I use [the|your] [Wi-Fi|wifi]?",
            "*How do I get on the wifi?",
        ),
        "short": ("{v}.",),
        "reply": ("The Wi-Fi password is {v}.", "You can use our Wi-Fi. The password is {v}."),
    },
    "owner": {
        "label": ("the owner", "who owns the shop"),
        "fact": ("Owner: {v}.", "The owner is {v}.", "Manager: {v}."),
        "ask": (
            "Who is the [owner|manager|boss]?",
            "Who [owns|runs] the [shop|store]?",
            "What is the [owner|manager]'s name?",
            "*Who is in charge there?",
        ),
        "short": ("{v}.",),
        "reply": ("[The owner is|It is] {v}.", "The shop is run by {v}."),
    },
}

SYSTEM: tuple[str, ...] = (
    "You are the assistant of {shop}.",
    "You are the [customer |][support|service] assistant of {shop}.",
    "You [help|answer] customers of {shop}.",
    "You are a [helpful|friendly|polite] shop assistant at {shop}.",
    "{shop}.",
    "You work for {shop}, an online shop.",
    "This is the chat of {shop}.",
)
SYSTEM_NAMELESS: tuple[str, ...] = (
    "You are a helpful assistant.",
    "You are the assistant of a shop.",
    "You are a [customer support|shop|helpful] assistant.",
    "",
)
RULES: tuple[str, ...] = (
    "Use only these facts[:|.]",
    "[Answer|Reply] [only |]from the [facts|information] below.",
    "Facts:",
    "Shop facts:",
    "What you know:",
    "Information:",
    "[Answer|Reply] politely. Facts:",
    "If you do not know, say so.",
    "",
    "",
)
BRIEF: tuple[str, ...] = (
    "[Answer|Reply] briefly.",
    "Keep it short.",
    "Be brief.",
    "[Answer|Reply] in a few words.",
)
FULL: tuple[str, ...] = ("Answer in [detail|full].", "Be [friendly|warm|talkative].")
IN_USER: tuple[str, ...] = (
    "Facts:\n{facts}\n\nQuestion: {q}",
    "Context:\n{facts}\n\nQuestion: {q}",
    "{facts}\n\n{q}",
    "Here is what we know:\n{facts}\n{q}",
)
OFFER: tuple[str, ...] = (
    "Is there anything else I can help [you |]with?",
    "[Let me know|Just ask] if you need anything else.",
    "Happy to help!",
)
OPENERS: tuple[str, ...] = (
    "Hi, ",
    "Hello, ",
    "Hi! ",
    "Hello! ",
    "Hey, ",
    "Please, ",
    "Excuse me, ",
)
TAILS: tuple[str, ...] = (" Thanks!", " Thank you.", " please", " Thanks in advance.")

HOURS: dict[str, tuple[str, ...]] = {
    "fact": (
        "Opening hours: {v}.",
        "Hours: {v}.",
        "[We are open|Open]: {v}.",
        "We are open {v}.",
        "Opening times: {v}.",
    ),
    "day": (
        "When are you open on {day}?",
        "What are your [hours|opening hours|opening times] on {day}?",
        "Are you open on {day}?",
        "[Is the shop|Is the store|Are you guys] open [on |]{day}?",
        "{day} hours?",
        "Can I come [by |]on {day}?",
        "Do you work on {day}s?",
        "*I'd like to visit on {day}. Are you open?",
        "*What about your times on {day}?",
    ),
    "day_more": ("And [on |]{day}?", "What about {day}?", "And on {day}s?", "How about {day}?"),
    "open": (
        "When do you open on {day}?",
        "What time do you open [on |]{day}?",
        "When does the [shop|store] open on {day}?",
        "From when are you open on {day}?",
        "*How early can I come on {day}?",
        "*On {day}, what time do you open?",
    ),
    "close": (
        "When do you close on {day}?",
        "What time do you close [on |]{day}?",
        "Until when are you open on {day}?",
        "How late are you open on {day}?",
        "When does the [shop|store] close on {day}?",
        "*On {day}, what time do you close?",
        "*When do you shut on {day}?",
    ),
    "general": (
        "When are you open?",
        "What are your [hours|opening hours|opening times]?",
        "When do you open?",
        "When do you open and close?",
        "What time [do you|does the shop|does the store] open?",
        "What time do you close?",
        "[Opening hours|Hours], please.",
        "Can you tell me your [opening |]hours?",
        "*At what times can I visit the shop?",
        "*Could I know your business hours?",
    ),
    "now": (
        "Are you open [now|today|right now]?",
        "Are you [still |]open [today|tonight|tomorrow]?",
        "When do you [open|close] [today|tomorrow]?",
        "*Is the shop open at the moment?",
    ),
    "day_reply": (
        "On {day} we are open from {a} to {b}.",
        "We are open from {a} to {b} on {day}.",
        "Yes, on {day} we are open from {a} to {b}.",
    ),
    "day_short": ("{a} to {b}.", "From {a} to {b}."),
    "open_reply": ("We open at {a} on {day}.", "On {day} we open at {a}."),
    "open_short": ("At {a}.",),
    "close_reply": ("We close at {b} on {day}.", "On {day} we close at {b}."),
    "close_short": ("At {b}.",),
    "closed_reply": (
        "We are closed on {day}.",
        "Sorry, we are closed on {day}.",
        "We do not open on {day}.",
    ),
    "closed_short": ("Closed.", "We are closed."),
    "general_reply": ("We are open {v}.", "Our [opening |]hours are {v}."),
    "general_short": ("{v}.",),
    "now_reply": (
        "I cannot see [the date|the clock|what day it is], but we are open {v}.",
        "I do not know what day it is. We are open {v}.",
    ),
}

PRODUCT: dict[str, tuple[str, ...]] = {
    "head": ("Products:", "We sell:", "Price list:", "Prices:", "Catalogue:", "Items:"),
    "line": (
        "{Name}: {price}, {stock}",
        "{Name} – {price} – {stock}",
        "{Name} ({price}, {stock})",
        "{Name}, {price}, {stock}",
        "The {name} costs {price} and is {stock}.",
        "{Name} | {price} | {stock}",
    ),
    "line_price": (
        "{Name}: {price}",
        "{Name} – {price}",
        "{Name} {price}",
        "{Name} ({price})",
        "The {name} costs {price}.",
        "{Name} = {price}",
    ),
    "price": (
        "How much is the {name}?",
        "How much does the {name} cost?",
        "What does the {name} cost?",
        "What is the price of the {name}?",
        "[Price of|The price of] the {name}?",
        "How much for the {name}?",
        "What's the price for [the|a] {name}?",
        "Can you tell me the price of the {name}?",
        "I'd like to know how much the {name} is.",
        "I want to buy the {name}. How much is it?",
        "{name}, how much?",
        "{name} price",
        "How expensive is the {name}?",
        "*What would I pay for the {name}?",
        "*I'm interested in the {name}, what does it cost?",
    ),
    "price_more": ("And the {name}?", "What about the {name}?", "How about the {name}?"),
    "price_reply": (
        "The {name} costs {price}.",
        "The {name} is {price}.",
        "The price of the {name} is {price}.",
    ),
    "price_short": ("{price}.", "It costs {price}."),
    "stock": (
        "Do you have the {name}?",
        "Do you have the {name} in stock?",
        "Is the {name} [in stock|available|sold out]?",
        "Is the {name} still available?",
        "Can I [buy|order|get] the {name} [now|today|right now]?",
        "Have you got the {name}?",
        "Any {name} left?",
        "Do you [sell|carry|stock] the {name}?",
        "*Are there any of the {name} left?",
        "*I wonder whether the {name} is available.",
    ),
    "both": (
        "Do you have the {name} and how much is it?",
        "Tell me about the {name}.",
        "What can you tell me about the {name}?",
        "I'm looking for the {name}.",
        "I need the {name}.",
        "*I'd like some details on the {name}.",
    ),
    "list": (
        "What do you sell?",
        "What [products|items|things] do you have?",
        "What can I buy [here|from you]?",
        "Which products do you [have|sell|offer]?",
        "Show me your products.",
        "*What is in your shop?",
    ),
    "list_reply": ("We sell {names}.", "We have {names}.", "You can buy {names}."),
    "sold": ("I'll take the {name}.", "I want to order the {name}.", "I'd like to buy the {name}."),
    "sold_reply": (
        "Great choice! The {name} costs {price}.",
        "Sure! The {name} is {price}.",
    ),
}
STOCK: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "in": (
        ("in stock", "available"),
        ("Yes, the {name} is in stock.", "The {name} is in stock.", "Yes, we have the {name}."),
    ),
    "left": (
        ("{n} left", "{n} in stock"),
        ("Yes, we have {n} of the {name} left.", "There are {n} of the {name} left."),
    ),
    "out": (
        ("out of stock", "sold out"),
        ("Sorry, the {name} is sold out.", "Sorry, the {name} is out of stock."),
    ),
    "back": (
        ("out of stock, back on {date}", "sold out until {date}", "back in stock on {date}"),
        (
            "The {name} is sold out, but it will be back on {date}.",
            "Sorry, the {name} is out of stock until {date}.",
        ),
    ),
}

ORDER: dict[str, tuple[str, ...]] = {
    "head": ("Orders:", "Open orders:", "Customer orders:", "Order list:"),
    "line": (
        "Order {id}: {state}",
        "{id}: {state}",
        "Order {id} is {state}.",
        "Order no. {id} – {state}",
        "#{id}: {state}",
    ),
    "ask": (
        "Where is my order {id}?",
        "Where is order {id}?",
        "What is the status of [my |]order {id}?",
        "When will [my |]order {id} arrive?",
        "When does order {id} [come|arrive]?",
        "Any news on order {id}?",
        "Can you check order {id}[| for me]?",
        "My order number is {id}. Where is it?",
        "I'm waiting for order {id}.",
        "Order {id}?",
        "Has order {id} been shipped?",
        "*Could you look up order {id}?",
        "*I ordered something, number {id}. What's happening with it?",
    ),
    "ask_bare": (
        "Where is my order?",
        "Where is my [parcel|package]?",
        "When will my order arrive?",
        "I'm still waiting for my [order|parcel|package].",
        "My [order|parcel|package] has not arrived.",
        "Can you check my order?",
        "What is the status of my order?",
        "*Has my stuff been sent yet?",
    ),
    "bare_reply": (
        "[Sure, what|What] is your order number?",
        "Please tell me your order number[| and I will check it].",
        "I can check that. What is the order number?",
    ),
    "number": (
        "{id}",
        "It's {id}.",
        "My order number is {id}.",
        "Order {id}.",
        "The number is {id}",
    ),
}
STATES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "packed": (
        ("being packed", "being prepared"),
        ("Your order {id} is being packed.", "Order {id} is being packed now."),
    ),
    "shipped": (
        ("shipped, arrives on {date}", "on the way, arrives on {date}", "shipped, due on {date}"),
        (
            "Order {id} is on the way and arrives on {date}.",
            "Your order {id} has been shipped. It arrives on {date}.",
        ),
    ),
    "delivered": (
        ("delivered on {date}", "was delivered on {date}"),
        ("Order {id} was delivered on {date}.", "Your order {id} was delivered on {date}."),
    ),
    "delayed": (
        ("delayed until {date}", "delayed, arrives on {date}"),
        (
            "Sorry, order {id} is delayed. It will arrive on {date}.",
            "Your order {id} is delayed until {date}. Sorry about that.",
        ),
    ),
    "cancelled": (
        ("cancelled",),
        ("Order {id} was cancelled.", "Your order {id} has been cancelled."),
    ),
    "unpaid": (
        ("waiting for payment", "not paid yet"),
        ("Order {id} is waiting for payment.", "Your order {id} has not been paid yet."),
    ),
}

PAYMENT: dict[str, tuple[str, ...]] = {
    "label": ("payment methods", "how you can pay"),
    "fact": ("Payment: {v}.", "We accept {v}.", "You can pay by {v}.", "Payment methods: {v}."),
    "ask": (
        "How can I pay?",
        "What payment methods do you [accept|have]?",
        "What can I pay with?",
        "How do I pay?",
        "*Which ways of paying are there?",
    ),
    "reply": ("You can pay by {v}.", "We accept {v}."),
    "short": ("{v}.",),
    "ask_one": (
        "Can I pay [by|with] {m}?",
        "Do you [accept|take] {m}?",
        "Is {m} OK?",
        "*Would {m} work for payment?",
    ),
    "yes": ("Yes, we accept {m}.", "Yes, you can pay by {m}."),
    "no": ("Sorry, we do not accept {m}. You can pay by {v}.", "No, but we accept {v}."),
}

UNKNOWN: dict[str, tuple[str, ...]] = {
    "ask": (
        "[Do you|Can you] repair [phones|shoes|watches|bicycles]?",
        "Do you [hire|need] [people|staff]?",
        "How old is the [shop|company]?",
        "How many people work [there|for you]?",
        "Can I bring my [dog|cat|baby]?",
        "Do you ship to [France|Japan|Canada|Brazil|Kenya]?",
        "Do you have a shop in [Paris|London|Beijing|Berlin|Tokyo]?",
        "Is there a [cafe|toilet|lift] in the shop?",
        "Who made the [website|products]?",
        "Can I [rent|lease] it?",
        "*Do you have a loyalty programme?",
        "*Are your products vegan?",
    ),
    "reply": ("Sorry, I don't have that information.",),
    "off": (
        "What is the weather [like |today|tomorrow]?",
        "Who [won|will win] the [match|game|election]?",
        "Tell me a joke.",
        "Write [me |]a poem[| about the sea].",
        "What is the capital of [France|Peru|Egypt]?",
        "What is [3|12|7] times [4|9|15]?",
        "Who is the president?",
        "Can you write code?",
        "What should I cook [today|tonight]?",
        "I have a headache. What should I take?",
        "Which stocks should I buy?",
        "What do you think about politics?",
        "*What's the meaning of life?",
        "*Can you help me with my homework?",
    ),
    "off_reply": ("Sorry, I can only help with questions about the shop.",),
}

TALK: dict[str, dict[str, tuple[str, ...]]] = {
    "greet": {
        "ask": (
            "[Hi|Hello|Hey|Good morning|Good afternoon|Good evening][|!|.| there| there!]",
            "[Hi|Hello], [anyone there|is anybody there|are you there]?",
            "*Hiya!",
            "*Greetings.",
        ),
        "reply": (
            "Hello! How can I help you?",
            "Hi! What can I do for you?",
            "Hello! What would you like to know?",
        ),
    },
    "how": {
        "ask": ("How are you?", "How are you [doing|today]?", "How's it going?", "*How do you do?"),
        "reply": (
            "I'm [fine|doing well], thank you! How can I help you?",
            "Very well, thanks! What can I do for you?",
        ),
    },
    "thanks": {
        "ask": (
            "[Thanks|Thank you|Thank you very much|Thanks a lot|Great, thanks|OK, thank you][|!|.]",
            "[Perfect|Great|Good|OK|Nice][|!|.]",
            "That [helps|helped]. Thank you!",
            "*Cheers!",
            "*Much appreciated.",
        ),
        "reply": (
            "You're welcome!",
            "You're welcome! Have a nice day!",
            "My pleasure! Just ask if you need anything else.",
        ),
    },
    "bye": {
        "ask": (
            "[Bye|Goodbye|Bye bye|See you|Good night][|!|.]",
            "That's all, bye.",
            "*Take care!",
        ),
        "reply": ("Goodbye! Have a nice day!", "Bye! Come back soon!", "See you soon!"),
    },
    "who": {
        "ask": (
            "Who are you?",
            "What are you?",
            "What's your name?",
            "Who am I [talking|speaking] to?",
            "*Can you introduce yourself?",
        ),
        "reply": (
            "I'm the assistant of {shop}.",
            "I am the shop assistant of {shop}. Ask me anything!",
        ),
        "reply_nameless": (
            "I'm a shop assistant. How can I help you?",
            "I'm the shop's assistant.",
        ),
    },
    "robot": {
        "ask": (
            "Are you [a robot|human|a human|a person|a machine|an AI|a bot|real]?",
            "Am I talking to a [robot|person|machine|human]?",
            "*Is this a bot?",
        ),
        "reply": (
            "I'm a computer program that answers questions about the shop.",
            "I'm an AI assistant, not a person.",
        ),
    },
    "help": {
        "ask": (
            "What can you do?",
            "Can you help me?",
            "How can you help me?",
            "I need help.",
            "Help[|!|.]",
            "I have a question.",
            "*What are you able to do?",
        ),
        "reply": (
            "Of course! I can answer questions about our products, orders, delivery and returns.",
            "Sure! Ask me about prices, opening hours, orders or returns.",
        ),
    },
    "angry": {
        "ask": (
            "This is [terrible|awful|bad]!",
            "I'm [very |]angry.",
            "I'm not happy[| with you| with the service].",
            "Your service is [bad|terrible|awful].",
            "It is broken!",
            "It arrived [broken|damaged].",
            "*I am really disappointed.",
        ),
        "reply": (
            "I'm sorry to hear that. Please tell me your order number.",
            "I'm very sorry about that. What is your order number?",
        ),
    },
    "language": {
        "ask": ("Do you speak [Chinese|English]?", "Can I write in Chinese?", "*Is Chinese OK?"),
        "reply": ("Yes, I speak English and Chinese.", "Yes, you can write in English or Chinese."),
    },
}

TRANSLATE: tuple[str, ...] = (
    "Translate into Chinese: {s}",
    "Translate to Chinese: {s}",
    "How do you say this in Chinese: {s}",
    "Please translate into Chinese: {s}",
    "{s}\nTranslate this into Chinese.",
)
TRANSLATE_SYSTEM: tuple[str, ...] = (
    "You are a translator. Translate English into Chinese.",
    "Translate into Chinese.",
    "Translate the user's text into Chinese.",
)
