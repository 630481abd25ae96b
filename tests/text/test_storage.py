"""The facts on file systems name their sources, and each source can be opened."""

import pytest

from scaleup.files import read_data

FACTS = read_data("storage.yml")


def test_every_source_has_a_title_an_address_and_a_date():
    for source in FACTS["sources"].values():
        assert set(source) == {"title", "url", "date"} and source["url"].startswith("https://")
        assert source["date"].year >= 2024


@pytest.mark.parametrize("fact", [*FACTS["file_systems"].values(), FACTS["files"], FACTS["formats"]])
def test_every_fact_names_sources_that_are_listed(fact):
    named = fact["source"] if isinstance(fact["source"], list) else [fact["source"]]
    assert named and set(named) <= set(FACTS["sources"])
