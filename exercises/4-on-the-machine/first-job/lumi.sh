#!/bin/bash
# Tries one idea on one device of LUMI-G, for four hours. The device's own share of cores
# is enough for the data loader, and the program needs 40 GB.
#SBATCH --job-name=idea
#SBATCH --account=project_465000000
#SBATCH --partition=small-g
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=1
#SBATCH --cpus-per-task=64
#SBATCH --mem=480G
#SBATCH --time=04:00:00

srun python train.py
