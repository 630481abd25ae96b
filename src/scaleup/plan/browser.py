"""The planner as the book's page calls it, in Pyodide: a question as JSON, its answer as JSON."""

from __future__ import annotations

import dataclasses
import json

from ..errors import CourseError
from .question import Question, answer, as_numbers


def reply(question: str, machines: str) -> str:
    """Answer a question: its fields as a JSON object, and the facts of all machines by name.

    Gives `{"plan": numbers, "html": text}`, or `{"problem": sentence}` for a question without an answer.
    """
    try:
        fields, facts = json.loads(question), json.loads(machines)
        known = {field.name for field in dataclasses.fields(Question)}
        asked = Question(**as_numbers({name: value for name, value in fields.items() if name in known}))
        if asked.machine not in facts:
            raise CourseError(f"There is no machine '{asked.machine}'. Known are {', '.join(facts)}.")
        found = answer(asked, facts[asked.machine])
    except CourseError as error:
        return json.dumps({"problem": str(error)})
    return json.dumps({"plan": found.as_dict(), "html": found._repr_html_()})
