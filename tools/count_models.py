"""Count the models of data/model_configs.json with transformers: `python -m tools.count_models`.

transformers is no part of the course; install it somewhere else, beside torch. Nothing is downloaded, and no
weight is made: the models are built on the meta device.
"""

from __future__ import annotations

import json
import sys

from scaleup.paths import root

FILE = "data/model_configs.json"


def count(config: dict) -> int:
    """Parameters of transformers' own model; a matrix that serves twice counts once."""
    import torch
    import transformers

    fields = {name: value for name, value in config.items() if name != "model_type"}
    settings = transformers.AutoConfig.for_model(config["model_type"], **fields)
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(settings)
    return sum(parameter.numel() for parameter in model.parameters())


def main() -> None:
    import transformers

    path = root() / FILE
    content = json.loads(path.read_text("utf-8"))
    for model in content["models"]:
        model["parameters"] = count(model["config"])
        print(f"{model['parameters']:>18,}  {model['name']}", flush=True)
    content["counted_by"] = f"transformers {transformers.__version__}"
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
