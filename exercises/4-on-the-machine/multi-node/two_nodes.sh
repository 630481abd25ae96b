#!/bin/bash
#SBATCH --account=practice
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --gpus-per-node=2
#SBATCH --time=00:05:00
#SBATCH --output=two_nodes.out

export OMP_NUM_THREADS=1
export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK
torchrun --standalone --nproc-per-node=2 meet.py
