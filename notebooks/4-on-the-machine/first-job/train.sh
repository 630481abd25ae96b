#!/bin/bash
#SBATCH --job-name=train
#SBATCH --account=practice
#SBATCH --mem=1G
#SBATCH --time=00:02:00
#SBATCH --output=train-%j.out

sleep 3
echo "weights of job $SLURM_JOB_ID" > model.txt
exit "${1:-0}"  # 0 is success; give another number to see a failure
