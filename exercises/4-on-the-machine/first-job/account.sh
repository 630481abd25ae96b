#!/bin/bash
# Evaluates a checkpoint: one device of the practice supercomputer, ten minutes.
#SBATCH --job-name=evaluate

set -e

#SBATCH --account=practice
#SBATCH --gpus-per-node=1
#SBATCH --mem=16G
#SBATCH --time=00:10:00
echo "evaluating on device $CUDA_VISIBLE_DEVICES"
