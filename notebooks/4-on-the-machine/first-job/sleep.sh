#!/bin/bash
#SBATCH --account=practice
#SBATCH --partition=gpu
#SBATCH --gpus-per-node=2
#SBATCH --mem=8G
#SBATCH --output=/dev/null

sleep 3600  # plays a training
