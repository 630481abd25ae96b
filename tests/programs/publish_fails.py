"""Two ranks save to the folder in argv; rank 0 cannot give the first checkpoint its name."""

import sys
from pathlib import Path

import torch

from scaleup import ranks
from scaleup.checkpoint import Saver, publication
from scaleup.errors import CourseError
from scaleup.model import GPT, GPTConfig
from scaleup.train import process_group

publish, told = publication.publish, []


def full(*_):
    publication.publish = publish
    raise OSError(122, "Disk quota exceeded")


publication.publish = full
with process_group():
    model = GPT(GPTConfig(vocab_size=32, layers=1, heads=2, dim=16, hidden=24, context=8))
    optimizer = torch.optim.AdamW(model.parameters())
    saver = Saver(Path(sys.argv[1]), model, optimizer, {})
    for step in (3, 6):
        try:
            saver.save(step, wait=True)
        except CourseError as error:
            told.append(str(error))
ranks.save_result(told)
