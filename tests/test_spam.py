"""The spam game: it ends where theory says, and David is a filter that one can use."""

from __future__ import annotations

import csv
import json
import math

import pytest
import torch
from ganzoo_spam import WORDS
from zoo import built, small

import ganzoo
from ganzoo import Request, medium
from ganzoo.registry.catalogue import catalogue
from ganzoo.runs.exported import Exported
from ganzoo.testing import fresh

SHARES = torch.tensor([0.0, 0.0, *(1 / k for k in range(1, len(WORDS) + 1))])
SHARES = SHARES / SHARES.sum()


def game(steps, **strategy):
    """Gary's probabilities, David's, and the mean of their losses over the last 50 steps."""
    session = built(small("spam-words", "mail-words", batch_size=1024, parts={"strategy": strategy}))
    terms = [session.step(t) for t in range(steps)]
    loss = torch.stack([v["d/real"] + v["d/fake"] for v in terms[-50:]]).mean()
    return session.strategy.G.table.detach()[0].softmax(0), session.strategy.D.table.detach()[0].sigmoid(), float(loss)


def divergence(p, q):
    """Jensen and Shannon's, in nats."""
    return float((torch.special.entr((p + q) / 2) - (torch.special.entr(p) + torch.special.entr(q)) / 2).sum())


def test_gary_ends_at_the_words_of_the_mails_and_david_at_a_half():
    p, verdict, loss = game(500, lr_g=0.02, lr_d=0.1)
    assert divergence(p, SHARES) < 2e-3
    assert loss == pytest.approx(2 * math.log(2), abs=5e-3)
    assert (verdict[2:12] - 0.5).abs().max() < 0.1


def test_against_a_gary_who_does_not_learn_david_reaches_the_best_answer():
    """Theorem 1: at best L_D = 2 log 2 - 2 JSD. Proposition 1: D = p_data / (p_data + p_G)."""
    p, verdict, loss = game(200, lr_g=0.0, lr_d=0.1)
    torch.testing.assert_close(p, torch.full_like(p, 1 / len(p)))
    distance = divergence(p, SHARES)
    assert distance > 0.05
    assert loss == pytest.approx(2 * math.log(2) - 2 * distance, abs=0.01)
    torch.testing.assert_close(verdict[2:], (SHARES / (SHARES + p))[2:], atol=0.06, rtol=0)


def test_gary_s_words_are_those_of_his_table_by_the_inverse_of_its_distribution():
    G = built(small("spam-words", "mail-words")).strategy.G
    with torch.no_grad():
        G.table[0, 3] = 5.0
    x, p = G(z=torch.linspace(0, 0.999, 1000)[:, None])
    torch.testing.assert_close(torch.bincount(x[:, 0], minlength=22) / 1000, p[0, 0], atol=2e-3, rtol=0)
    assert (x[1:] >= x[:-1]).all()


def test_david_is_applied_to_mails_and_gary_is_sampled(tmp_path):
    words = ["run", "spam-words", "--steps", "60", "--sample-every", "30", "--out", str(tmp_path / "run")]
    assert fresh.ganzoo(words).returncode == 0
    (tmp_path / "mails.txt").write_text("prize\nthe\nzebra\n")
    done = fresh.ganzoo(["apply", str(tmp_path / "run"), str(tmp_path / "mails.txt"), "--network", "david", "--out", str(tmp_path / "o")])
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader((tmp_path / "o" / "labels.csv").read_text().splitlines()))
    # After 60 steps Gary still writes rare words too often, and words that no mail has.
    assert [row["class"] for row in rows] == ["spam", "ham", "spam"]
    assert len((tmp_path / "run" / "landscape.jsonl").read_text().splitlines()) == 3
    run = built(small("spam-words", "mail-words"))
    assert [Exported.of(run.strategy, name).name for name in run.strategy.exports()] == ["gary", "david"]


def mails(path, n=200):
    """Labelled lines, of which spam is about prizes and ham about lunch."""
    spam, ham = ("win a prize now", "free prize call now", "call now to win"), ("are we at lunch", "lunch is at home", "see you at home")
    path.write_text("".join(f"{'spam' if i % 4 == 0 else 'ham'}\t{(spam if i % 4 == 0 else ham)[i // 4 % 3]}\n" for i in range(n)))
    return path


def test_mails_of_one_s_own_are_split_by_kind_and_a_fifth_is_held_out(tmp_path):
    zoo = catalogue()
    lines = [line.split("\t") for line in mails(tmp_path / "m.txt").read_text().splitlines()]
    parts = {}
    for name in ("mails", "mails-test"):
        record = zoo.get("dataset", name).record
        options = record.options(file=str(tmp_path / "m.txt"), length=4)
        samples = zoo.get("dataset", name).load()(Request(tmp_path, (), tmp_path, options))
        kind = medium("tokens")
        parts[name] = {
            key: kind.objects(rows, samples.fields[key]) if key[0] == "x" else rows.tolist() for key, rows in samples.arrays().items()
        }
    assert parts["mails"]["x"] == [text for i, (kind, text) in enumerate(lines) if i % 5 and kind == "ham"]
    assert parts["mails"]["x_s"] == [text for i, (kind, text) in enumerate(lines) if i % 5 and kind == "spam"]
    assert parts["mails-test"]["x"] == [text for _, text in lines[::5]]
    assert parts["mails-test"]["y"] == [int(kind == "ham") for kind, _ in lines[::5]]


@pytest.mark.parametrize(
    ("text", "said"),
    [("hello\n", "wanted lines of ham or spam"), ("ham\tx\n" * 40, "0 mails are spam"), ("ham\t\n", "line 1"), (None, "does not exist")],
)
def test_a_file_that_holds_no_mails_is_refused_with_what_is_wanted(text, said, tmp_path):
    if text is not None:
        (tmp_path / "m.txt").write_text(text)
    done = fresh.ganzoo(["run", "spam", "--dataset.file", str(tmp_path / "m.txt"), "--out", str(tmp_path / "run")])
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_gary_learns_to_pass_the_filter_and_david_is_measured_on_held_out_mails(tmp_path):
    file, run = mails(tmp_path / "m.txt"), tmp_path / "run"
    options = ["--strategy.mle-steps=60", "--strategy.judge-steps=30", "--generator.width=16", "--discriminator.filters=1x16,2x16"]
    more = ["--strategy.d-steps=1", "--strategy.lr-g=0.05", "--strategy.lr-d=0.002", "--batch-size=16", "--keep=0", "--save-every=90"]
    data = ["--dataset.length=5", "--dataset.file", str(file)]
    done = fresh.ganzoo(["run", "spam", "--steps=115", *options, *more, *data, "--out", str(run)])
    assert done.returncode == 0, done.stderr
    before, after = (ganzoo.load(run / "checkpoints" / f"{step:06d}.safetensors", "gary").sample(64, to="tensor") for step in (90, 115))
    david = ganzoo.load(run / "checkpoints" / "000090.safetensors", "david")
    passes = [float(torch.as_tensor(david.apply(texts, to="tensor")).argmax(1).double().mean()) for texts in (before, after)]
    assert passes[0] < 0.2, "Gary begins as spam, which the filter knows"
    assert passes[1] > 0.5, "he has learnt what passes it"
    done = fresh.ganzoo(["evaluate", str(run), "--network", "david", "--metric", "accuracy", "--against", "test", "--json"])
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0]["figures"]["accuracy"] > 0.95
