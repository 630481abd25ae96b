"""The one error that learners are meant to see."""


class CourseError(Exception):
    """Something a person can put right.

    The message is one or two plain sentences: what is wrong, and what to do. The command line prints it
    without a traceback and exits with status 2; a notebook shows the sentence and nothing else.
    """

    def _render_traceback_(self) -> list[str]:
        """IPython asks for this instead of printing the stack."""
        return [f"{type(self).__name__}: {self}"]
