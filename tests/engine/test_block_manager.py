import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from onesec.engine.block_manager import BlockManager, BlockTable

SIZE, BLOCKS = 2, 7


def ids(*tokens: int) -> np.ndarray:
    return np.array(tokens, dtype=np.int32)


def computed_prompt(manager: BlockManager, prompt: np.ndarray, variant: str = "8") -> BlockTable:
    names = manager.names(prompt)
    table = manager.allocate(names, variant)
    assert manager.append(table, len(prompt))
    manager.publish(table, names, variant, len(prompt))
    return table


def test_a_prompt_shares_the_blocks_of_an_earlier_one_but_never_all_of_them() -> None:
    manager = BlockManager(BLOCKS, SIZE, key=b"k")
    first = computed_prompt(manager, ids(1, 2, 3, 4))
    names = manager.names(ids(1, 2, 3, 4))
    assert len(names) == 1  # the second block would complete the prompt
    second = manager.allocate(names, "8")
    assert second.blocks == first.blocks[:1]
    longer = manager.names(ids(1, 2, 3, 4, 5))
    assert manager.match(longer, "8") == 1  # the first prompt could not publish its last block
    assert manager.match(longer, "4") == 0  # another gear computed other values
    assert manager.match(manager.names(ids(9, 2, 3, 4, 5)), "8") == 0
    twins = BlockManager(4, SIZE, key=b"k")
    names = twins.names(ids(1, 2, 3))
    tables = [twins.allocate(names, "8") for _ in range(2)]
    for table in tables:
        assert twins.append(table, 3)
        twins.publish(table, names, "8", 3)
    for table in tables:
        twins.free(table)
    assert twins.append(BlockTable(), 4 * SIZE)  # which takes all of both
    assert twins.match(names, "8") == 0


def test_salts_and_keys_keep_tenants_apart() -> None:
    manager = BlockManager(BLOCKS, SIZE, key=b"k")
    computed_prompt(manager, ids(1, 2, 3))
    assert manager.match(manager.names(ids(1, 2, 3)), "8") == 1
    assert manager.match(manager.names(ids(1, 2, 3), b"tenant"), "8") == 0
    other = BlockManager(BLOCKS, SIZE, key=b"other")
    assert manager.match(other.names(ids(1, 2, 3)), "8") == 0


def test_freed_blocks_are_found_until_they_are_needed_oldest_first() -> None:
    manager = BlockManager(4, SIZE, key=b"k")
    old = computed_prompt(manager, ids(1, 2, 3))
    new = computed_prompt(manager, ids(4, 5, 6))
    manager.free(old)
    manager.free(new)
    assert manager.free_blocks == 4
    table = BlockTable()
    assert manager.append(table, 3 * SIZE)  # two empty blocks and the oldest idle one
    assert manager.match(manager.names(ids(1, 2, 3)), "8") == 0
    assert manager.match(manager.names(ids(4, 5, 6)), "8") == 1
    assert not manager.append(BlockTable(), 2 * SIZE)
    assert manager.free_blocks == 1
    chain = BlockManager(3, SIZE, key=b"k")
    chain.free(computed_prompt(chain, ids(1, 2, 3, 4, 5)))
    assert chain.append(BlockTable(), 2 * SIZE)  # the empty block and the end of the prefix
    assert chain.match(chain.names(ids(1, 2, 3, 4, 5)), "8") == 1


def test_without_caching_nothing_is_found() -> None:
    manager = BlockManager(4, SIZE, key=b"k", caching=False)
    table = computed_prompt(manager, ids(1, 2, 3))
    manager.free(table)
    assert manager.names(ids(1, 2, 3)) == []


class Blocks(RuleBasedStateMachine):
    """Random lives of tables; a shadow memory knows which tokens each block was computed from."""

    def __init__(self) -> None:
        super().__init__()
        self.manager = BlockManager(BLOCKS, SIZE, key=b"secret")
        self.tables: list[tuple[BlockTable, np.ndarray, str]] = []
        self.memory: dict[int, tuple[tuple[int, ...], str]] = {}  # block: prefix, variant

    @rule(prompt=st.lists(st.integers(0, 1), min_size=1, max_size=9), variant=st.sampled_from("48"))
    def start(self, prompt: list[int], variant: str) -> None:
        tokens = ids(*prompt)
        names = self.manager.names(tokens)
        expected = self.manager.match(names, variant)
        before = self.manager.free_blocks
        table = self.manager.allocate(names, variant)
        assert table.shared == len(table.blocks) == expected
        assert table.shared * SIZE < len(prompt)
        for i, block in enumerate(table.blocks):
            assert self.memory[block] == (tuple(prompt[: (i + 1) * SIZE]), variant)
        if not self.manager.append(table, len(prompt)):
            assert len(table.blocks) == expected
            self.manager.free(table)
            assert self.manager.free_blocks == before
            return
        for i in range(table.shared, len(table.blocks)):
            self.memory[table.blocks[i]] = (tuple(prompt[: (i + 1) * SIZE]), variant)
        self.tables.append((table, tokens, variant))

    @precondition(lambda self: self.tables)
    @rule(data=st.data())
    def publish(self, data: st.DataObject) -> None:
        table, tokens, variant = data.draw(st.sampled_from(self.tables))
        computed = data.draw(st.integers(0, len(tokens)))
        self.manager.publish(table, self.manager.names(tokens), variant, computed)

    @precondition(lambda self: self.tables)
    @rule(data=st.data(), more=st.integers(1, 6))
    def grow(self, data: st.DataObject, more: int) -> None:
        table, _, _ = data.draw(st.sampled_from(self.tables))
        old, free = list(table.blocks), self.manager.free_blocks
        if self.manager.append(table, len(old) * SIZE + more):
            assert table.blocks[: len(old)] == old
            for block in table.blocks[len(old) :]:
                self.memory[block] = ((), "answer")
        else:
            assert table.blocks == old
            assert self.manager.free_blocks == free

    @precondition(lambda self: self.tables)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        index = data.draw(st.integers(0, len(self.tables) - 1))
        table, _, _ = self.tables.pop(index)
        self.manager.free(table)
        assert table.blocks == []

    @invariant()
    def no_block_is_lost_or_given_twice(self) -> None:
        used = {block for table, _, _ in self.tables for block in table.blocks}
        assert self.manager.used_blocks == len(used)
        assert self.manager.free_blocks == BLOCKS - len(used)
        private = [b for table, _, _ in self.tables for b in table.blocks[table.shared :]]
        shared = {b for table, _, _ in self.tables for b in table.blocks[: table.shared]}
        assert len(private) == len(set(private))
        assert shared <= used


Blocks.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestBlocks = Blocks.TestCase


def test_blocks_that_others_share_are_not_free_with_a_table() -> None:
    manager = BlockManager(8, 2, key=b"k")
    names = manager.names(np.arange(9, dtype=np.int32))
    first = manager.allocate(names, "4")
    manager.append(first, 9)
    manager.publish(first, names, "4", 9)
    second = manager.allocate(names, "4")
    manager.append(second, 9)
    assert manager.free_blocks == 2
    assert manager.free_with([first]) == manager.free_with([second]) == 3
    assert manager.free_with([first, second]) == 8
