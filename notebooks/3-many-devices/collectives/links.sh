#!/bin/bash
#SBATCH --account=practice
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=2
#SBATCH --cpus-per-task=8
#SBATCH --gpus-per-node=2
#SBATCH --time=00:05:00
#SBATCH --output=links.out

export MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export MASTER_PORT=$((10000 + SLURM_JOB_ID % 10000))
export OMP_NUM_THREADS=1

# Two ranks inside one node, then four ranks on four nodes.
srun --nodes=1 --ntasks=2 --ntasks-per-node=2 python links.py inside.json
export GLOO_SOCKET_IFNAME=eth0
srun --nodes=4 --ntasks=4 --ntasks-per-node=1 python links.py between.json
