import pytest
import tokenizers
from tokenizers import AddedToken, decoders, models, pre_tokenizers

from onesec.model.thinking import thinking_marks
from onesec.model.tokenizer import Tokenizer


def tokenizer(*added: str, template: str = "") -> Tokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    library = tokenizers.Tokenizer(models.BPE({c: i for i, c in enumerate(alphabet)}, []))
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.decoder = decoders.ByteLevel()
    library.add_tokens([AddedToken(text, special=False) for text in added])
    templates = {"default": template} if template else {}
    return Tokenizer(library, source="test", special_tokens={}, chat_templates=templates)


@pytest.mark.parametrize(
    ("begin", "end"),
    [
        ("<think>", "</think>"),
        ("<thinking>", "</thinking>"),
        ("[THINK]", "[/THINK]"),
        ("<seed:think>", "</seed:think>"),
        ("<|begin_of_thought|>", "<|end_of_thought|>"),
        ("<|START_THINKING|>", "<|END_THINKING|>"),
    ],
)
def test_marks_are_found_by_their_texts(begin: str, end: str) -> None:
    tok = tokenizer("<tool>", begin, end, "</tool>")
    marks = thinking_marks(tok)
    assert marks is not None
    assert (marks.open_id, marks.close_id) == (tok.token_to_id(begin), tok.token_to_id(end))
    assert marks.closing_ids.count(marks.close_id) == 1


def test_none_without_a_pair() -> None:
    assert thinking_marks(tokenizer("<think>", "<tool>", "</tool>")) is None
    assert thinking_marks(tokenizer("<rethinker>", "</rethinker>")) is None
    assert thinking_marks(tokenizer()) is None


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (r"{{ '<think>\n' + r + '\n</think>\n\n' + c }}", "\n</think>\n\n"),
        (r"{{ '<think>' + r + '\n</think>\n' + c }}", "\n</think>\n"),
        ("{{ c.split('</think>')[-1] }}", "\n</think>\n\n"),
        ("", "\n</think>\n\n"),
    ],
)
def test_line_ends_around_the_mark_follow_the_template(template: str, expected: str) -> None:
    tok = tokenizer("<think>", "</think>", template=template)
    marks = thinking_marks(tok)
    assert marks is not None
    assert tok.decode(marks.closing_ids) == expected
