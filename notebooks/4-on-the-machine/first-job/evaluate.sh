#!/bin/bash
#SBATCH --job-name=evaluate
#SBATCH --account=practice
#SBATCH --mem=1G
#SBATCH --time=00:02:00
#SBATCH --output=evaluate-%j.out

echo "evaluating the $(cat model.txt)"
