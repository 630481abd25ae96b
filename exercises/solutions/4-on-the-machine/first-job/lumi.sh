#!/bin/bash
# Tries one idea on one device of LUMI-G, for four hours. The device's own share of cores
# is enough for the data loader, and the program needs 40 GB.
#SBATCH --job-name=idea
#SBATCH --account=project_465000000
#SBATCH --partition=small-g
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=1
### BEGIN SOLUTION
#SBATCH --cpus-per-task=7
#SBATCH --mem=60G
### STARTER
# #SBATCH --cpus-per-task=64
# #SBATCH --mem=480G
### END SOLUTION
#SBATCH --time=04:00:00

srun python train.py
