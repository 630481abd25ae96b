#!/bin/bash
#SBATCH --account=practice --partition=debug --nodes=1 --time=00:02:00 --output=%x-%j.out
greeting || echo "no program called greeting"
