#!/bin/bash
#SBATCH --account=practice
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=2
#SBATCH --mem=1G
#SBATCH --time=00:02:00

echo "the job sees devices ${CUDA_VISIBLE_DEVICES:-none}"
if [ "${SLURM_GPUS_ON_NODE:-0}" = 2 ]; then
    srun --gpus-per-task=1 \
        sh -c 'echo "task $SLURM_PROCID sees device $CUDA_VISIBLE_DEVICES"' | sort
fi
