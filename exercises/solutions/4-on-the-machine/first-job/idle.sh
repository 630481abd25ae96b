#!/bin/bash
# Trains on two whole nodes of the practice supercomputer.
# Every device is paid for; not every one works.
#SBATCH --job-name=idle
#SBATCH --account=practice
#SBATCH --nodes=2
#SBATCH --gpus-per-node=2
### BEGIN SOLUTION
#SBATCH --ntasks-per-node=2
### STARTER
# #SBATCH --ntasks-per-node=1
### END SOLUTION
#SBATCH --mem=16G
#SBATCH --time=00:05:00

srun --gpus-per-task=1 \
    sh -c 'echo "rank $SLURM_PROCID uses $SLURMD_NODENAME $CUDA_VISIBLE_DEVICES"'
