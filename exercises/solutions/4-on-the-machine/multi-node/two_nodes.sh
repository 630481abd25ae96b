#!/bin/bash
#SBATCH --account=practice
### BEGIN SOLUTION
#SBATCH --nodes=2
### STARTER
# #SBATCH --nodes=1
### END SOLUTION
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --gpus-per-node=2
#SBATCH --time=00:05:00
#SBATCH --output=two_nodes.out

export OMP_NUM_THREADS=1
export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK
### BEGIN SOLUTION
FIRST=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
PORT=$((10000 + SLURM_JOB_ID % 10000))
srun torchrun --nnodes="$SLURM_NNODES" --nproc-per-node=2 --rdzv-backend=c10d \
    --rdzv-id="$SLURM_JOB_ID" --rdzv-endpoint="$FIRST:$PORT" meet.py
### STARTER
# torchrun --standalone --nproc-per-node=2 meet.py
### END SOLUTION
