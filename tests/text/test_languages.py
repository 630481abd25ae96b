"""Languages: right where there is something to read, and unsure where there is not."""

import pytest

from scaleup.text.prepare import languages


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Der Rechner war am Montag langsam, und niemand wusste, woran das lag.", "de"),
        ("Le calculateur était lent lundi, et personne ne savait pourquoi.", "fr"),
        ("W poniedziałek komputer był powolny i nikt nie wiedział dlaczego.", "pl"),
        ("У понеділок комп'ютер був повільним, і ніхто не знав чому.", "uk"),
    ],
)
def test_a_sentence_is_enough(text, language):
    found, confidence = languages.identify(text)
    assert found == language and confidence > 0.9


def test_a_word_is_not():
    assert languages.identify("Information")[1] < 0.9
    assert languages.identify("")[1] < 0.1


def test_more_text_than_the_sample_changes_nothing():
    german = "Der Rechner war am Montag langsam, und niemand wusste, woran das lag. " * 20
    assert languages.identify(german) == languages.identify(german + "And then it was fast again. " * 500)


def test_codes_are_known():
    assert {"de", "fr", "mt", "ga"} <= set(languages.known())
