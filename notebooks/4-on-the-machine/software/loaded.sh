# In a shell that has a module loaded, submit the script that is named.
. ./module.sh
module load greeting/1.0
sbatch --parsable "$1"
