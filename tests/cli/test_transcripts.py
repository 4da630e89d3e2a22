"""Every transcript beside this file reads the same when its commands are run again, on either database."""

from pathlib import Path

import pytest

from tests.cli.transcript import replay, surroundings
from tokenhub.settings import Settings

TRANSCRIPTS = sorted(Path(__file__).parent.glob("*.txt"))


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_a_transcript_reads_the_same_when_it_is_run_again(
    path: Path, empty_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    for name, value in surroundings(home).items():
        monkeypatch.setenv(name, value)
    text = path.read_text(encoding="utf-8")
    if empty_settings.database_url:
        monkeypatch.setenv("TOKENHUB_DATABASE_URL", empty_settings.database_url)
        text = text.replace(" on SQLite.", " on PostgreSQL.")
    assert "".join(replay(text, home)) == text
