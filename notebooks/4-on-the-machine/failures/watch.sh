#!/bin/bash
#SBATCH --account=practice
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --gpus-per-node=1
#SBATCH --time=00:05:00
#SBATCH --output=watch.out

export MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export MASTER_PORT=$((10000 + SLURM_JOB_ID % 10000))
export GLOO_SOCKET_IFNAME=eth0 OMP_NUM_THREADS=1

# Two thousand collectives are kept in memory, for the case that one hangs.
export TORCH_FR_BUFFER_SIZE=2000
srun --cpus-per-task=8 --kill-on-bad-exit=0 python watch.py
exit 0
