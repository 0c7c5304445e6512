"""English sentences about people, events, places and things, for reading and summarizing.

A table a kind: each slot has the sentences that state it and the questions that ask for it.
`{n}` is the subject, `{v}` the value, `{a}` the value with its article; `*` marks questions kept
for the evaluation. `one` and `two` are the first and the second sentence of a summary.
"""

from __future__ import annotations

Slot = tuple[tuple[str, ...], tuple[str, ...]]

KINDS: dict[str, dict[str, Slot]] = {
    "person": {
        "job": (
            ("{n} is {a}.", "{n} works as {a}.", "By profession, {n} is {a}."),
            (
                "What is {n}'s job?",
                "What does {n} do for a living?",
                "What does {n} work as?",
                "*How does {n} earn a living?",
            ),
        ),
        "city": (
            ("{n} lives in {v}.", "{n} has a house in {v}.", "The home of {n} is in {v}."),
            (
                "Where does {n} live?",
                "Which town does {n} live in?",
                "Where is {n}'s home?",
                "*In which place is {n} at home?",
            ),
        ),
        "age": (
            ("{n} is {v} years old.", "At {v} years of age, {n} is still active."),
            ("How old is {n}?", "What is {n}'s age?", "*What age is {n}?"),
        ),
        "employer": (
            ("{n} works for {v}.", "{n} has a job at {v}.", "{v} is where {n} works."),
            (
                "Who does {n} work for?",
                "Where does {n} work?",
                "Which company does {n} work for?",
                "*Who employs {n}?",
            ),
        ),
        "hobby": (
            ("{n} loves {v}.", "In the evenings {n} enjoys {v}.", "{n}'s favourite hobby is {v}."),
            (
                "What is {n}'s hobby?",
                "What does {n} like to do?",
                "What does {n} love?",
                "*How does {n} spend free time?",
            ),
        ),
        "friend": (
            ("{n}'s best friend is {v}.", "{n} is a good friend of {v}.", "{n} grew up with {v}."),
            ("Who is {n}'s friend?", "Who is a friend of {n}?", "*Which person is {n} close to?"),
        ),
    },
    "event": {
        "day": (
            ("{n} takes place on {v}.", "{n} will be held on {v}.", "The date of {n} is {v}."),
            (
                "When is {n}?",
                "On what day is {n}?",
                "What day does {n} take place?",
                "*Which date is set for {n}?",
            ),
        ),
        "time": (
            ("{n} starts at {v}.", "Doors of {n} open at {v}.", "{n} begins at {v}."),
            (
                "What time does {n} start?",
                "When does {n} begin?",
                "At what time does {n} begin?",
                "*From what hour can I enter {n}?",
            ),
        ),
        "place": (
            ("{n} is held at {v}.", "{v} hosts {n}.", "Visitors of {n} meet at {v}."),
            (
                "Where is {n}?",
                "Where does {n} take place?",
                "Where is {n} held?",
                "*What is the venue of {n}?",
            ),
        ),
        "host": (
            ("{n} is organized by {v}.", "{v} organizes {n}.", "The organizer of {n} is {v}."),
            ("Who organizes {n}?", "Who is the organizer of {n}?", "*Who is behind {n}?"),
        ),
        "price": (
            (
                "Tickets for {n} cost {v}.",
                "A ticket for {n} is {v}.",
                "The entry fee of {n} is {v}.",
            ),
            (
                "How much is a ticket for {n}?",
                "What do tickets for {n} cost?",
                "How much does {n} cost?",
                "*What do I pay to get into {n}?",
            ),
        ),
        "guests": (
            (
                "About {v} guests are expected at {n}.",
                "{n} expects {v} visitors.",
                "{v} people will come to {n}.",
            ),
            (
                "How many people will come to {n}?",
                "How many guests are expected at {n}?",
                "How many visitors does {n} expect?",
                "*What number of people may attend {n}?",
            ),
        ),
    },
    "company": {
        "city": (
            (
                "{n} is based in {v}.",
                "{n} has its office in {v}.",
                "The headquarters of {n} are in {v}.",
            ),
            (
                "Where is {n} based?",
                "Where is the office of {n}?",
                "Which town is {n} in?",
                "*Where can {n} be found?",
            ),
        ),
        "year": (
            ("{n} was founded in {v}.", "{n} was started in {v}.", "{n} opened its doors in {v}."),
            (
                "When was {n} founded?",
                "In which year was {n} founded?",
                "When did {n} start?",
                "*Since when has {n} existed?",
            ),
        ),
        "boss": (
            ("{n} is led by {v}.", "{v} is the head of {n}.", "The boss of {n} is {v}."),
            (
                "Who leads {n}?",
                "Who is the head of {n}?",
                "Who is the boss of {n}?",
                "*Who runs {n}?",
            ),
        ),
        "staff": (
            ("{n} has {v} employees.", "{v} people work for {n}.", "{n} employs {v} people."),
            (
                "How many employees does {n} have?",
                "How many people work for {n}?",
                "*How large is the staff of {n}?",
            ),
        ),
        "product": (
            ("{n} makes the {v}.", "{n} is known for the {v}.", "The {v} is made by {n}."),
            (
                "What does {n} make?",
                "What is {n} known for?",
                "Which product does {n} make?",
                "*What can one buy from {n}?",
            ),
        ),
        "sales": (
            (
                "Last year {n} earned {v}.",
                "The profit of {n} was {v}.",
                "{n} made a profit of {v}.",
            ),
            (
                "How much did {n} earn?",
                "What was the profit of {n}?",
                "*How much profit did {n} report?",
            ),
        ),
    },
    "building": {
        "city": (
            ("{n} stands in {v}.", "{n} is in {v}.", "{n} can be found in {v}."),
            (
                "Where is {n}?",
                "Where does {n} stand?",
                "In which town is {n}?",
                "*Where would I find {n}?",
            ),
        ),
        "year": (
            ("{n} was built in {v}.", "{n} was finished in {v}.", "{n} dates from {v}."),
            (
                "When was {n} built?",
                "In which year was {n} finished?",
                "*How far back does {n} date?",
            ),
        ),
        "height": (
            ("{n} is {v} high.", "{n} rises {v} into the sky.", "The height of {n} is {v}."),
            (
                "How high is {n}?",
                "What is the height of {n}?",
                "How tall is {n}?",
                "*How many metres does {n} rise?",
            ),
        ),
        "architect": (
            ("{n} was designed by {v}.", "{v} designed {n}.", "The architect of {n} was {v}."),
            ("Who designed {n}?", "Who was the architect of {n}?", "*Whose design is {n}?"),
        ),
        "cost": (
            ("{n} cost {v}.", "Building {n} cost {v}.", "The price of {n} was {v}."),
            ("How much did {n} cost?", "What did {n} cost?", "*How much money went into {n}?"),
        ),
        "visitors": (
            (
                "{n} has {v} visitors a year.",
                "{v} people visit {n} every year.",
                "Every year {v} people see {n}.",
            ),
            (
                "How many people visit {n}?",
                "How many visitors does {n} have?",
                "*How many people come to see {n}?",
            ),
        ),
    },
    "trip": {
        "dest": (
            ("{n} is travelling to {v}.", "{n} goes to {v}.", "{n} is on the way to {v}."),
            ("Where is {n} going?", "Where does {n} travel to?", "*What is {n}'s destination?"),
        ),
        "day": (
            ("{n} leaves on {v}.", "The journey of {n} begins on {v}.", "{n} will set off on {v}."),
            ("When does {n} leave?", "On what day does {n} leave?", "*Which day does {n} set out?"),
        ),
        "transport": (
            ("{n} travels by {v}.", "{n} goes there by {v}.", "{n} takes the {v}."),
            (
                "How does {n} travel?",
                "How does {n} get there?",
                "*What means of transport does {n} use?",
            ),
        ),
        "hotel": (
            ("{n} stays at {v}.", "{n} has a room at {v}.", "{n} booked {v}."),
            (
                "Where does {n} stay?",
                "Which hotel did {n} book?",
                "Where will {n} sleep?",
                "*What place did {n} reserve for the night?",
            ),
        ),
        "companion": (
            ("{n} travels with {v}.", "{v} goes with {n}.", "{n} is joined by {v}."),
            ("Who travels with {n}?", "Who goes with {n}?", "*Who accompanies {n}?"),
        ),
        "days": (
            ("{n} stays for {v}.", "{n} will be away for {v}.", "The trip of {n} lasts {v}."),
            (
                "How long does {n} stay?",
                "How long is {n} away?",
                "How long is the trip of {n}?",
                "*For what length of time is {n} gone?",
            ),
        ),
    },
    "accident": {
        "day": (
            ("{n} happened on {v}.", "{n} was reported on {v}.", "{n} began on {v}."),
            ("When did {n} happen?", "On what day was {n}?", "*Which day did {n} occur?"),
        ),
        "hurt": (
            (
                "{v} people were hurt in {n}.",
                "{n} left {v} people injured.",
                "{v} people were injured in {n}.",
            ),
            (
                "How many people were hurt in {n}?",
                "How many people did {n} injure?",
                "*How many victims did {n} have?",
            ),
        ),
        "cause": (
            ("{n} was caused by {v}.", "The cause of {n} was {v}.", "Police say {v} caused {n}."),
            (
                "What caused {n}?",
                "What was the cause of {n}?",
                "Why did {n} happen?",
                "*What led to {n}?",
            ),
        ),
        "damage": (
            ("{n} caused damage of {v}.", "The damage of {n} is {v}.", "{n} will cost {v}."),
            (
                "How much damage did {n} cause?",
                "What is the damage of {n}?",
                "*How costly was {n}?",
            ),
        ),
        "helper": (
            ("{v} helped after {n}.", "Help after {n} came from {v}.", "{v} gave help after {n}."),
            (
                "Who helped after {n}?",
                "Who gave help after {n}?",
                "*Who came to the rescue after {n}?",
            ),
        ),
    },
    "match": {
        "score": (
            ("{n} ended {v}.", "The final score of {n} was {v}.", "{n} finished {v}."),
            ("What was the score of {n}?", "How did {n} end?", "*What was the result of {n}?"),
        ),
        "winner": (
            ("{v} won {n}.", "The winner of {n} was {v}.", "{n} was won by {v}."),
            ("Who won {n}?", "Who was the winner of {n}?", "*Who came first in {n}?"),
        ),
        "place": (
            ("{n} was played at {v}.", "{n} was held at {v}.", "{v} was the place of {n}."),
            ("Where was {n} played?", "Where was {n} held?", "*Which ground saw {n}?"),
        ),
        "scorer": (
            ("{v} scored the last goal of {n}.", "The last goal of {n} came from {v}."),
            ("Who scored the last goal of {n}?", "Who scored in {n}?", "*Whose goal ended {n}?"),
        ),
        "crowd": (
            ("{v} fans watched {n}.", "{n} was seen by {v} fans.", "{n} had {v} spectators."),
            (
                "How many fans watched {n}?",
                "How many people saw {n}?",
                "*How big was the crowd at {n}?",
            ),
        ),
    },
    "course": {
        "teacher": (
            ("{n} is taught by {v}.", "{v} teaches {n}.", "The teacher of {n} is {v}."),
            ("Who teaches {n}?", "Who is the teacher of {n}?", "*Who gives the lessons of {n}?"),
        ),
        "room": (
            ("{n} is in room {v}.", "{n} meets in room {v}.", "The room of {n} is {v}."),
            (
                "Which room is {n} in?",
                "What is the room of {n}?",
                "Where does {n} meet?",
                "*Which room do I go to for {n}?",
            ),
        ),
        "day": (
            ("{n} begins on {v}.", "{n} starts on {v}.", "The first lesson of {n} is on {v}."),
            ("When does {n} begin?", "When does {n} start?", "*When is the opening lesson of {n}?"),
        ),
        "fee": (
            ("{n} costs {v}.", "The fee of {n} is {v}.", "Students pay {v} for {n}."),
            (
                "How much is {n}?",
                "What is the fee of {n}?",
                "What does {n} cost?",
                "*How much do students pay for {n}?",
            ),
        ),
        "length": (
            ("{n} lasts {v}.", "{n} takes {v}.", "The length of {n} is {v}."),
            ("How long does {n} last?", "How long is {n}?", "*For how long does {n} run?"),
        ),
    },
    "lake": {
        "near": (
            ("{n} lies near {v}.", "{n} is close to {v}.", "The nearest town to {n} is {v}."),
            (
                "Where is {n}?",
                "Which town is near {n}?",
                "Where does {n} lie?",
                "*Which town lies next to {n}?",
            ),
        ),
        "depth": (
            ("{n} is {v} deep.", "The depth of {n} is {v}.", "At its deepest, {n} measures {v}."),
            ("How deep is {n}?", "What is the depth of {n}?", "*How far down does {n} go?"),
        ),
        "fish": (
            ("{n} is home to {v}.", "There are {v} in {n}.", "{n} is known for its {v}."),
            (
                "Which animals live in {n}?",
                "What is {n} home to?",
                "*What kind of animal can be seen in {n}?",
            ),
        ),
        "owner": (
            ("{n} belongs to {v}.", "{v} owns {n}.", "The owner of {n} is {v}."),
            ("Who owns {n}?", "Who does {n} belong to?", "*Whose property is {n}?"),
        ),
        "boats": (
            ("{v} boats sail on {n}.", "There are {v} boats on {n}.", "{n} has {v} boats."),
            (
                "How many boats are on {n}?",
                "How many boats does {n} have?",
                "*What is the number of boats on {n}?",
            ),
        ),
    },
    "ticket": {
        "order": (
            (
                "{n} wrote about order {v}.",
                "{n}'s order number is {v}.",
                "It is about order {v} of {n}.",
            ),
            (
                "What is {n}'s order number?",
                "Which order did {n} write about?",
                "*What number does {n}'s order have?",
            ),
        ),
        "item": (
            ("{n} bought the {v}.", "{n} ordered the {v}.", "The {v} was sent to {n}."),
            ("What did {n} buy?", "What did {n} order?", "*Which product did {n} get?"),
        ),
        "problem": (
            ("{n} says that {v}.", "{n} reports that {v}.", "Problem of {n}: {v}."),
            (
                "What is {n}'s problem?",
                "What does {n} report?",
                "What is wrong for {n}?",
                "*What does {n} complain about?",
            ),
        ),
        "wish": (
            ("{n} asks for {v}.", "{n} would like {v}.", "{n} wants {v}."),
            ("What does {n} want?", "What does {n} ask for?", "*What does {n} expect?"),
        ),
        "phone": (
            ("{n} can be reached at {v}.", "{n}'s phone number is {v}.", "Phone of {n}: {v}."),
            (
                "What is {n}'s phone number?",
                "How can {n} be reached?",
                "*Which number can I dial for {n}?",
            ),
        ),
        "day": (
            ("{n} wrote on {v}.", "The message of {n} came on {v}.", "{n} contacted us on {v}."),
            (
                "When did {n} write?",
                "On what day did {n} contact us?",
                "*When did we hear from {n}?",
            ),
        ),
    },
}

SUMMARIES: dict[str, dict[str, tuple[str, ...]]] = {
    "person": {
        "one": ("{n} is {job:a} from {city}.",),
        "two": ("{n} works for {employer} and loves {hobby}.",),
    },
    "event": {
        "one": ("{n} takes place on {day} at {place}.",),
        "two": ("It starts at {time} and tickets cost {price}.",),
    },
    "company": {
        "one": ("{n} from {city} makes the {product}.",),
        "two": ("It was founded in {year} and is led by {boss}.",),
    },
    "building": {
        "one": ("{n} in {city} was built in {year}.",),
        "two": ("It was designed by {architect} and is {height} high.",),
    },
    "trip": {
        "one": ("{n} travels to {dest} on {day}.",),
        "two": ("{n} goes by {transport} and stays at {hotel}.",),
    },
    "accident": {
        "one": ("{n} on {day} was caused by {cause}.",),
        "two": ("{hurt} people were hurt and the damage is {damage}.",),
    },
    "match": {
        "one": ("{winner} won {n} {score}.",),
        "two": ("It was played at {place} before {crowd} fans.",),
    },
    "course": {
        "one": ("{n} is taught by {teacher} and starts on {day}.",),
        "two": ("It is in room {room} and costs {fee}.",),
    },
    "lake": {
        "one": ("{n} near {near} is {depth} deep.",),
        "two": ("It belongs to {owner} and is home to {fish}.",),
    },
    "ticket": {
        "one": ("{n} bought the {item} (order {order}), but {problem}.",),
        "two": ("{n} asks for {wish}.",),
    },
}
OPEN = {
    "event": "the {x} {kind}",
    "building": "the {x} {kind}",
    "match": "the {x} Cup",
    "course": "the {x} course",
    "lake": "Lake {x}",
    "accident": "the {kind} in {x}",
}
NOUNS = {
    "event": ("Festival", "Fair", "Concert", "Market", "Congress", "Exhibition", "Party", "Parade"),
    "building": (
        "Tower",
        "Bridge",
        "Museum",
        "Castle",
        "Church",
        "Station",
        "Palace",
        "Lighthouse",
    ),
    "accident": (
        "fire",
        "flood",
        "accident",
        "storm",
        "power cut",
        "landslide",
        "explosion",
        "train crash",
    ),
}
FILLERS = (
    "Many people were happy about it.",
    "Nobody knows why.",
    "It was a long day.",
    "The weather was fine.",
    "More news will follow soon.",
    "The details are still open.",
    "Everybody was surprised.",
    "Some people had doubts.",
    "That is all for now.",
    "This is not the first time.",
    "Neighbours talked about it for a long time.",
    "There were many questions.",
    "The local paper wrote about it.",
    "It was not easy.",
    "Everyone hopes for the best.",
    "Photos can be found online.",
    "A few things may still change.",
    "Thank you for reading.",
)
ANSWER_APP = (
    "Answer from the text. If it does not say, reply: The text does not say."
    "\n\n{text}\n\nQuestion: {q}"
)
ANSWER_SYSTEM = (
    "Answer the question from the text. If the text does not say, reply: The text does not say."
)
ANSWER_SYSTEMS = (
    "Answer from the text.",
    "Read the text and answer the question briefly.",
    "",
    "You answer questions about a text. If it does not hold the answer, say: "
    "The text does not say.",
    "Use only the text. If the answer is not there, reply: The text does not say.",
)
FULL_SYSTEM = "Answer the question from the text in a full sentence."
ANSWER_USERS = (
    "Text:\n{text}\n\nQuestion: {q}",
    "{text}\n\n{q}",
    "{q}\n\n{text}",
    "Passage: {text}\nQuestion: {q}",
    "Context:\n{text}\n\n{q}",
)
NOT_SAID = "The text does not say."
SUMMARY_APP = {
    "one": "Summarize in one sentence:\n\n{text}",
    "sentences": "Summarize in {n} sentences:\n\n{text}",
    "words": "Summarize in at most {n} words:\n\n{text}",
}
SUMMARY_SYSTEM = (
    "Summarize the text in one sentence.",
    "Summarize the text in one or two sentences.",
)
SUMMARY_SYSTEMS = (
    ("Sum up in one sentence.", "Give a one-sentence summary.", "Summarize in one sentence."),
    (
        "Summarize the text.",
        "Summarize the text briefly.",
        "Write a short summary.",
        "Give the main facts in short.",
    ),
)
SUMMARY_USERS = (
    ("Summarize in one sentence:\n{text}", "{text}\n\nSummarize this in one sentence."),
    (
        "Summarize:\n{text}",
        "{text}\n\nPlease summarize this.",
        "Give me a short summary of this text:\n{text}",
    ),
)
LETTERS = (
    "Hello, my name is {n}. I bought the {item}, order {order}. Unfortunately, {problem}. "
    "I would like {wish}.",
    "Dear team, {problem}. I am talking about the {item} from order {order}. "
    "Please send me {wish}. Best regards, {n}",
    "Order {order}\nCustomer: {n}\nProduct: {item}\nMessage: {problem}, so I want {wish}.",
    "Customer: Hi, I have a question about the {item}.\nAgent: What is your order number?\n"
    "Customer: {order}. {problem!c}.\nAgent: I am sorry. What is your name?\n"
    "Customer: {n}. I would like {wish}, please.",
    "From: {n}\nSubject: order {order}\n\nThe {item} came today, but {problem}. Can I have {wish}?",
    "*Good evening, I am {n} and I am not happy: {problem}. "
    "It is the {item} that came with order {order}. I insist on {wish}.",
)
MEETING = {
    "open": (
        "Hi {b}, shall we talk about {topic}?",
        "{b}, we have to talk about {topic}.",
        "Hello {b}! I am calling about {topic}.",
    ),
    "ok": ("Yes, good idea.", "Sure, when?", "Of course.", "Hi {a}! Yes, let us do that."),
    "when": (
        "Can we meet on {day} at {time}?",
        "How about {day} at {time}?",
        "Let us meet on {day} at {time}.",
    ),
    "fine": ("Fine. Where?", "That works for me. Where?", "OK, and where?"),
    "where": ("At {place}.", "Let us meet at {place}.", "I suggest {place}."),
    "task": (
        "Good. I will {task}.",
        "OK, I will {task} before that.",
        "Great, then I will {task}.",
    ),
    "bye": ("Thank you, see you then.", "Perfect, bye!", "See you!"),
    "one": ("{a} and {b} will meet on {day} at {time} to talk about {topic}.",),
    "two": ("They meet at {place}, and {b} will {task}.",),
}
MEETING_ASKS = {
    "topic": (
        "What will they talk about?",
        "What is the meeting about?",
        "*What is the subject of the talk?",
    ),
    "day": ("On what day will they meet?", "Which day do they meet?", "*Which day was agreed?"),
    "time": (
        "At what time will they meet?",
        "What time is the meeting?",
        "*At which hour do they meet?",
    ),
    "place": ("Where will they meet?", "Where is the meeting?", "*What place was agreed?"),
    "task": ("What will {b} do?", "What is the task of {b}?", "*What has {b} promised to do?"),
}
