#!/bin/bash
# Part of the chain; leave it as it is.
# It would remove the files that training and evaluation used.
#SBATCH --job-name=cleanup
#SBATCH --account=practice
#SBATCH --mem=1G
#SBATCH --time=00:01:00
#SBATCH --output=/dev/null

echo "cleanup" >> events.txt
