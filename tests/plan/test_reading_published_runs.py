"""book/reference/reading-published-runs.md: every block of code prints what the page says it prints."""

import contextlib
import io
import re

from scaleup.paths import root

PAGE = root() / "book/reference/reading-published-runs.md"
BLOCK = re.compile(r"```python\n(.*?)```(?:\n\n```text\n(.*?)```)?", re.DOTALL)


def test_the_page_prints_what_its_code_prints():
    blocks = BLOCK.findall(PAGE.read_text(encoding="utf-8"))
    names, printed = {}, []
    for code, _ in blocks:
        with contextlib.redirect_stdout(io.StringIO()) as out:
            exec(compile(code, PAGE.name, "exec"), names)
        printed.append(out.getvalue())
    assert printed == [text for _, text in blocks]
    assert sum(map(bool, printed)) >= 7
