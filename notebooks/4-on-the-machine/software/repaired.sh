#!/bin/bash
#SBATCH --account=practice --partition=debug --nodes=1 --time=00:02:00 --output=%x-%j.out
. ./module.sh  # on a real machine, module is there already
module purge
module load greeting/2.0
greeting
