"""In which order to ask when a run fails: the first question with a yes says what to do."""

QUESTIONS = (
    ("Does its log name a cause? (scaleup explain)", "Do what it says first"),
    ("Did one rank end before the others?", "Read that rank's last lines, then sacct"),
    ("Do all wait, in different calls?", "Compare the recorders: a mismatched call"),
    ("Is one rank some calls behind?", "What does it do: saving, reading, compiling?"),
    ("Do all wait in the same call?", "Test the links pair by pair"),
    ("Is it slow, and one rank never waits?", "Look at that rank: cores, device, data"),
    ("Is it slow, and all ranks wait?", "Test the links pair by pair"),
    ("Is the loss not a number?", "Whose own gradient was it first?"),
    ("Do checksums differ between ranks?", "Back to the last checkpoint that agrees"),
    ("None of these?", "Make it small, keep the logs, ask"),
)
