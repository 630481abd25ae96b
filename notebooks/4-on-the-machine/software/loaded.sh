# In a shell that has a module loaded, submit the same script as before.
. ./module.sh
module load greeting/2.0
sbatch --parsable which.sh
