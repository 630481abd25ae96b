#!/bin/bash
#SBATCH --account=practice
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --gpus-per-node=2
#SBATCH --time=00:05:00
#SBATCH --output=train.out

FILE=../../../notebooks/3-many-devices/data_parallel.py
export MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export MASTER_PORT=$((10000 + SLURM_JOB_ID % 10000))
export OMP_NUM_THREADS=1
export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK
export GLOO_SOCKET_IFNAME=eth0

# Four ranks: two on each node.
export SCALEUP_PARITY=four.pt
srun torchrun --nnodes="$SLURM_NNODES" --nproc-per-node=2 --rdzv-backend=c10d \
    --rdzv-id="$SLURM_JOB_ID" --rdzv-endpoint="$MASTER_ADDR:$MASTER_PORT" "$FILE"

# One rank, started by srun alone, which needs the four variables by hand.
export SCALEUP_PARITY=one.pt
export RANK=0 LOCAL_RANK=0 WORLD_SIZE=1
srun --nodes=1 --ntasks=1 python "$FILE"
