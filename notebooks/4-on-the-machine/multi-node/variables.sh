#!/bin/bash
#SBATCH --account=practice
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --gpus-per-node=2
#SBATCH --time=00:05:00
#SBATCH --output=variables.out

# This script: one process, on the first node.
python variables.py batch

# One task per rank: Slurm starts all four.
srun --ntasks=4 --ntasks-per-node=2 --cpus-per-task=8 python variables.py srun

# One task per node: torchrun starts two ranks on each.
export MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export MASTER_PORT=$((10000 + SLURM_JOB_ID % 10000))
export OMP_NUM_THREADS=1
export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK
srun torchrun --nnodes="$SLURM_NNODES" --nproc-per-node=2 --rdzv-backend=c10d \
    --rdzv-id="$SLURM_JOB_ID" --rdzv-endpoint="$MASTER_ADDR:$MASTER_PORT" \
    variables.py torchrun
