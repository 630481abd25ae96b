#!/bin/bash
# Evaluates a checkpoint: one device of the practice supercomputer, ten minutes.
### BEGIN SOLUTION
#SBATCH --job-name=evaluate
#SBATCH --account=practice
#SBATCH --gpus-per-node=1
#SBATCH --mem=16G
#SBATCH --time=00:10:00

set -e
### STARTER
# #SBATCH --job-name=evaluate
#
# set -e
#
# #SBATCH --account=practice
# #SBATCH --gpus-per-node=1
# #SBATCH --mem=16G
# #SBATCH --time=00:10:00
### END SOLUTION
echo "evaluating on device $CUDA_VISIBLE_DEVICES"
