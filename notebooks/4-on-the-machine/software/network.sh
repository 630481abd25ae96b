#!/bin/bash
#SBATCH --account=practice --partition=debug --nodes=1 --time=00:02:00 --output=%x-%j.out
python network.py
python -m pip install --retries 0 scaleup-greeting 2>&1 | grep ERROR | tail -n 1
