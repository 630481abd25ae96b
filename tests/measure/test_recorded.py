"""The newest record of a GPU, or None."""

import json

from scaleup.measure import recorded


def test_the_newest_record_is_that_of_the_last_day(tmp_path, monkeypatch):
    monkeypatch.setenv("SCALEUP_HOME", str(tmp_path))
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "data").mkdir()
    assert recorded.newest() is None  # not even the folder is there
    recorded.folder().mkdir()
    (recorded.folder() / "README.md").write_text("no record")
    assert recorded.newest() is None
    for day, card in (("2026-12-02", "b"), ("2026-12-10", "a"), ("2026-11-30", "c")):
        (recorded.folder() / f"{day}-{card}.json").write_text(json.dumps({"date": day, "card": card}))
    assert recorded.newest() == {"date": "2026-12-10", "card": "a"}
    assert [record["card"] for record in recorded.records()] == ["c", "b", "a"]
