"""The spam game: it ends where theory says, and David is a filter that one can use."""

from __future__ import annotations

import csv
import math

import pytest
import torch
from ganzoo_spam import WORDS
from zoo import built, small

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
