"""Prompts with long answers for `onesec bench deadlines --prompts`: how stories begin.

`python bench/story_prompts.py tinystories_val.txt > stories.jsonl`: the first ten words of each
story that is still in its first sentence there.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

WORDS, MAX_TOKENS, COUNT = 10, 448, 430


def main(path: Path) -> None:
    stories = path.read_text().split("<|endoftext|>")
    begun = [" ".join(story.split()[:WORDS]) for story in stories]
    good = [
        b for b in begun if b.count(" ") == WORDS - 1 and b[0].isupper() and not set(".!?") & {*b}
    ]
    for prompt in good[:COUNT]:
        print(json.dumps({"prompt": prompt, "max_tokens": MAX_TOKENS}, ensure_ascii=False))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
