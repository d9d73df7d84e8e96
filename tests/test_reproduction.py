"""The sheet of reproductions says what cards and tables say; owed rows name their command."""

import re
import sys

from ebmlearn import cli_train
from tools import reproduction


def test_the_sheet_is_what_cards_and_tables_say(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(sys, "argv", ["reproduction", "--check"])
    assert reproduction.main() == 0, capsys.readouterr().out
    stale = tmp_path / "reproduction.md"
    stale.write_text(reproduction.page().replace("96%", "97%"))
    monkeypatch.setattr(reproduction, "PAGE", stale)
    assert reproduction.main() == 1 and "stale" in capsys.readouterr().out


def test_every_claim_has_a_command_and_a_number_or_is_owed():
    for paper, claims in reproduction.rows().items():
        assert len(claims) >= 4 and re.search(r"\(.*20\d\d\)", paper)
        for row in claims:
            assert row.claim and row.command
            number = "owed" if row.number is None else row.number()
            assert number == "owed" or re.search(r"\d", number), row.claim
            for recipe in re.findall(r"`ebmlearn train (\w+)", row.command):
                assert recipe in cli_train.recipes()


def test_parameters_and_cells_are_read():
    assert reproduction.parameters("base") == "6,955,648"
    assert reproduction.cell("grbm_fashion.md", "floor") == "0.02"
    assert reproduction.from_evaluation("no-such-model") is None
