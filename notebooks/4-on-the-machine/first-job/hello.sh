#!/bin/bash
#SBATCH --job-name=hello        # what squeue shows
#SBATCH --account=practice      # who pays
#SBATCH --partition=gpu         # which nodes, under which limits
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1     # processes that srun starts on each node
#SBATCH --mem=1G                # memory on each node
#SBATCH --time=00:02:00         # then Slurm ends the job
#SBATCH --output=%x-%j.out      # the log: name and number of the job

echo "The script runs on $(hostname)."
srun hostname | sort
