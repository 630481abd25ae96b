#!/bin/bash
# Fine-tunes a model on the practice supercomputer. It was timed: it takes 25 minutes.
#SBATCH --job-name=fine-tune
#SBATCH --account=practice
### BEGIN SOLUTION
#SBATCH --partition=gpu
#SBATCH --time=00:30:00
### STARTER
# #SBATCH --partition=debug
# #SBATCH --time=00:30:00
### END SOLUTION
#SBATCH --gpus-per-node=2
#SBATCH --mem=16G

srun echo "25 minutes of fine-tuning"
