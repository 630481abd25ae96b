"""`scaleup.train.train` with the settings of a TOML file; each rank hands its steps back."""

import dataclasses
import sys

from scaleup import config, ranks, train

history = train.train(config.load(sys.argv[1]))
ranks.save_result([dataclasses.asdict(step) for step in history])
