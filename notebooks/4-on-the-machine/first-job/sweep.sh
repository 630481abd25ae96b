#!/bin/bash
#SBATCH --job-name=sweep
#SBATCH --account=practice
#SBATCH --array=0-3%2           # tasks 0 to 3, at most two at a time
#SBATCH --mem=1G
#SBATCH --time=00:02:00
#SBATCH --output=sweep-%a.out   # a log for each task

python sweep.py "$SLURM_ARRAY_TASK_ID"
sleep 4  # a real training takes longer
