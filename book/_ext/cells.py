"""Cells that begin with `%%px` run Python on every rank, and are coloured as Python.

IPython's own lexer knows the magics that it brings, and shows the rest of any other cell as plain text.
"""

from __future__ import annotations

from ipython_pygments_lexers import IPython3Lexer
from pygments.lexer import bygroups, using
from pygments.lexers import Python3Lexer
from pygments.token import Operator, Text
from sphinx.application import Sphinx

ON_EVERY_RANK = (r"(?s)\A(\s*)(%%px)([^\n]*\n)(.*)", bygroups(Text, Operator, Text, using(Python3Lexer)))


class CellLexer(IPython3Lexer):
    """A cell of a lesson."""

    tokens = IPython3Lexer.tokens | {"root": [ON_EVERY_RANK, *IPython3Lexer.tokens["root"]]}


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_lexer("ipython3", CellLexer)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
