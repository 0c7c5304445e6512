"""BlockManager: which KV block is whose, and which computed blocks may be used again.

It must not know the cache's memory, sequences or gears: blocks are numbers, a prompt is its ids.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Iterable
from collections.abc import Sequence as Seq
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import chain

from onesec.backend.base import Int32Array

_DIGEST_BYTES = 16


@dataclass(slots=True)
class BlockTable:
    """The blocks of one sequence in order of position; the first `shared` came from the cache.

    `published` of them are findable by later prompts.
    """

    blocks: list[int] = field(default_factory=list)
    shared: int = 0
    published: int = 0


class BlockManager:
    """Counts references to blocks, and finds computed prompt blocks by their content.

    A block's name is a keyed hash over its parent's name and its tokens, chained from a salt (the
    tenant), so nobody can forge a hit. `variant` says how the block was computed (the gear);
    blocks of one variant never serve another. Freed blocks stay findable until they are needed,
    the longest unused first. With `caching` false nothing is found.

    >>> manager = BlockManager(4, 2, key=b"k")
    >>> table = BlockTable(); manager.append(table, 3), len(table.blocks)
    (True, 2)
    """

    def __init__(self, num_blocks: int, block_size: int, *, key: bytes, caching: bool = True):
        if num_blocks < 1 or block_size < 1:
            raise ValueError(f"{num_blocks} blocks of {block_size} tokens cannot hold anything")
        self.num_blocks = num_blocks
        self.block_size = block_size
        self._key = key
        self._caching = caching
        self._references = [0] * num_blocks
        self._name_of: list[tuple[bytes, str] | None] = [None] * num_blocks
        self._block_of: dict[tuple[bytes, str], int] = {}
        self._empty = deque(range(num_blocks))
        self._idle: OrderedDict[int, None] = OrderedDict()  # named, unreferenced; oldest first

    @property
    def free_blocks(self) -> int:
        """Blocks that can be had now: the empty ones and the idle ones."""
        return len(self._empty) + len(self._idle)

    def free_with(self, tables: Iterable[BlockTable]) -> int:
        """Blocks that could be had if these tables were given back: not those that others share."""
        shares = Counter(chain.from_iterable(table.blocks for table in tables))
        return self.free_blocks + sum(self._references[b] == n for b, n in shares.items())

    @property
    def used_blocks(self) -> int:
        """Blocks that some table refers to."""
        return self.num_blocks - self.free_blocks

    def blocks_for(self, tokens: int) -> int:
        """Blocks that hold that many tokens."""
        return -(-tokens // self.block_size)

    def names(self, prompt: Int32Array, salt: bytes = b"") -> list[bytes]:
        """Names of the prompt's full blocks.

        One that would complete the prompt is left out: a token must be computed to draw the next.
        """
        if not self._caching:
            return []
        size, key = self.block_size, self._key
        parent = blake2b(salt, digest_size=_DIGEST_BYTES, key=key).digest()
        data, stride = prompt.tobytes(), size * prompt.itemsize
        result = []
        for start in range(0, (len(prompt) - 1) // size * stride, stride):
            parent = blake2b(
                parent + data[start : start + stride], digest_size=_DIGEST_BYTES, key=key
            ).digest()
            result.append(parent)
        return result

    def match(self, names: Seq[bytes], variant: str) -> int:
        """How many leading blocks of a prompt are in the cache."""
        count = 0
        for name in names:
            if (name, variant) not in self._block_of:
                break
            count += 1
        return count

    def allocate(self, names: Seq[bytes], variant: str) -> BlockTable:
        """A table that shares the leading blocks found in the cache; it may be empty."""
        table = BlockTable()
        for name in names[: self.match(names, variant)]:
            block = self._block_of[name, variant]
            if self._references[block] == 0:
                del self._idle[block]
            self._references[block] += 1
            table.blocks.append(block)
        table.shared = table.published = len(table.blocks)
        return table

    def append(self, table: BlockTable, tokens: int) -> bool:
        """Grow the table until it covers `tokens` tokens; else False, and nothing is taken."""
        missing = self.blocks_for(tokens) - len(table.blocks)
        if missing > self.free_blocks:
            return False
        for _ in range(missing):
            if self._empty:
                block = self._empty.popleft()
            else:
                block, _ = self._idle.popitem(last=False)
                self._forget(block)
            self._references[block] = 1
            table.blocks.append(block)
        return True

    def publish(self, table: BlockTable, names: Seq[bytes], variant: str, computed: int) -> None:
        """Make the table's blocks findable that lie within the first `computed` tokens."""
        last = min(computed // self.block_size, len(names))
        for i in range(table.published, last):
            name = (names[i], variant)
            if name not in self._block_of:  # else a twin computed it first: keep that one
                block = table.blocks[i]
                self._block_of[name] = block
                self._name_of[block] = name
        table.published = max(table.published, last)

    def hold(self, table: BlockTable) -> BlockTable:
        """Another table of the same blocks: they are nobody else's until that is freed too."""
        for block in table.blocks:
            self._references[block] += 1
        return BlockTable(list(table.blocks), table.shared, table.published)

    def free(self, table: BlockTable) -> None:
        """Give all blocks of the table back; the table is empty afterwards."""
        # Deepest first, so that a prefix is evicted after what hangs on it.
        for block in reversed(table.blocks):
            self._references[block] -= 1
            if self._references[block] == 0:
                if self._name_of[block] is None:
                    self._empty.append(block)
                else:
                    self._idle[block] = None
        table.blocks.clear()
        table.shared = table.published = 0

    def _forget(self, block: int) -> None:
        name = self._name_of[block]
        if name is not None:
            del self._block_of[name]
            self._name_of[block] = None
