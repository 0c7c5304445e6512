"""A training of a few tiny steps: it learns, resumes where it stopped, and exports."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from training import tokenizer  # noqa: E402
from training.data import build  # noqa: E402
from training.export import export, load_run, mean_of  # noqa: E402
from training.mixture import training_conversations  # noqa: E402
from training.model import generate  # noqa: E402
from training.shape import ModelConfig  # noqa: E402
from training.train import TrainConfig, progress, rate, train  # noqa: E402

SHAPE = ModelConfig(vocab_size=700, intermediate_size=256, num_hidden_layers=2)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("training")
    chats = training_conversations(1, 120)
    texts = [m["content"] for chat in chats for m in chat.messages()]
    words = tokenizer.train(texts, SHAPE.vocab_size)
    words.save(str(folder / "tokenizer.json"))
    for part in (0, 1):
        build(words, chats[part::2], SHAPE.max_position_embeddings).save(folder / f"{part}.npz")
    return folder


def config(steps: int) -> TrainConfig:
    return TrainConfig(steps=steps, batch_tokens=512, warmup=2, compile=False, save_every_s=0.0)


def test_training_learns_resumes_and_exports(made: Path):
    run = made / "run"
    train(made, SHAPE, config(6), run)
    first = torch.load(run / "checkpoint.pt", weights_only=True)
    assert first["step"] == 6
    model = train(made, SHAPE, config(12), run)
    second = torch.load(run / "checkpoint.pt", weights_only=True)
    assert second["step"] == 12
    assert [point[0] for point in second["curve"]] == [6, 12]
    assert second["curve"][-1][3] < second["curve"][0][3]
    assert (run / "loss.svg").read_text().startswith("<svg")
    export(load_run(run), made / "tokenizer.json", made / "model", "bfloat16")
    shape = json.loads((made / "model" / "config.json").read_text())
    assert shape["model_type"] == "qwen3"
    assert shape["vocab_size"] == SHAPE.vocab_size
    replies = generate(model.eval(), [[5, 6, 7], [8, 9]], stop=2, limit=4)
    alone = [generate(model, [prompt], stop=2, limit=4)[0] for prompt in ([5, 6, 7], [8, 9])]
    assert replies == alone


def test_the_mean_of_two_trainings_lies_between_them(made: Path):
    runs = [made / "first", made / "second"]
    for run, steps in zip(runs, (3, 6), strict=True):
        train(made, SHAPE, config(steps), run)
    mean, first, second = (
        m.model.embed_tokens.weight for m in map(mean_of, (runs, *([r] for r in runs)))
    )
    torch.testing.assert_close(mean, (first + second) / 2)
    assert not torch.equal(first, second)


def test_a_resumed_training_takes_the_batches_that_follow(made: Path):
    straight = train(made, SHAPE, config(6), made / "straight")
    train(made, SHAPE, config(4), made / "halted")
    state = torch.load(made / "halted" / "checkpoint.pt", weights_only=True)
    assert state["spent"][0] < torch.load(made / "straight" / "checkpoint.pt")["spent"][0]
    resumed = train(made, SHAPE, config(6), made / "halted")
    both = [torch.load(made / run / "checkpoint.pt") for run in ("straight", "halted")]
    assert both[0]["spent"][0] == both[1]["spent"][0]  # as many tokens seen
    assert straight.parameter_count() == resumed.parameter_count()


def test_a_loss_that_is_no_number_ends_the_training(made: Path):
    run = made / "exploded"
    train(made, SHAPE, config(2), run)
    state = torch.load(run / "checkpoint.pt", weights_only=True)
    state["model"]["model.norm.weight"].fill_(float("nan"))
    torch.save(state, run / "checkpoint.pt")
    before = (run / "checkpoint.pt").read_bytes()
    with pytest.raises(FloatingPointError, match="--learning-rate"):
        train(made, SHAPE, config(4), run)
    assert (run / "checkpoint.pt").read_bytes() == before


def test_whatever_ends_first_ends_the_training():
    plan = TrainConfig(steps=100, minutes=10)
    assert progress(50, 0.0, plan) == 0.5
    assert progress(10, 300.0, plan) == 0.5
    assert progress(10, 1e9, plan) == 1.0
    assert rate(0, 0.0, plan) < rate(plan.warmup, 0.3, plan) == 1.0
    assert rate(90, 0.99, plan) < 0.05
