"""The support desk's memory: entries from files, found again by what a question speaks of.

from onesec.knowledge import Knowledge

with Knowledge("shop.db") as knowledge:
    knowledge.load("faq/")                 # again after every change: only that is written
    knowledge.search("运费多少？")
"""

from .store import Knowledge, LoadReport

__all__ = ["Knowledge", "LoadReport"]
