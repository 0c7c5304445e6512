"""What questions about a made text must be: answered from it, or told to be not in it."""

from training.chat import Conversation
from training.kinds import TEXTS


def answers_of(chat: Conversation, lang: int) -> tuple[int, int]:
    """How many of its answers stand in the text, and how many say that it does not say; there are
    no others."""
    text = chat.turns[0].question.casefold()
    found = 0
    for turn in chat.turns:
        if turn.skill == "answer":
            assert turn.answer.casefold() in text, (turn.question, turn.answer)
            found += 1
        else:
            assert turn.answer == TEXTS[lang].NOT_SAID
    return found, len(chat.turns) - found
