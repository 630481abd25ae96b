#!/bin/bash
#SBATCH --account=practice --partition=debug --nodes=1 --time=00:02:00 --output=%x-%j.out --error=%x-%j.err
export HF_HOME="$PWD/cache/huggingface"
python hub.py model.safetensors
HF_HUB_OFFLINE=1 python hub.py config.json model.safetensors
