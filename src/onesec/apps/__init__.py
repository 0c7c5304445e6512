"""The four applications, on any model that is passed in:

from onesec import LLM
from onesec.apps import Answer, Summarize, Support, Translate

with LLM("onesec-mini") as llm:
    print(Support(llm, entries).ask("When do you open?", deadline="500ms").text)
"""

from .answer import Answer, Citation, TextAnswer
from .ask import Ask, Model, Reply, Steps, run
from .base import App
from .summarize import Summarize, Summary
from .support import Conversation, Entry, Library, Support, SupportAnswer
from .target import Target
from .text import Language, language
from .translate import Sentence, Translate, Translation

__all__ = [
    "Answer",
    "App",
    "Ask",
    "Citation",
    "Conversation",
    "Entry",
    "Language",
    "Library",
    "Model",
    "Reply",
    "Sentence",
    "Steps",
    "Summarize",
    "Summary",
    "Support",
    "SupportAnswer",
    "Target",
    "TextAnswer",
    "Translate",
    "Translation",
    "language",
    "run",
]
