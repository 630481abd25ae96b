# To be sourced by every job: caches on scratch, nothing in the home directory.
cache="${SCRATCH:?is not set: export it, your folder on scratch}/cache"
node="${TMPDIR:-/tmp/$USER}"
export XDG_CACHE_HOME="$cache"          # whatever follows the convention
export HF_HOME="$cache/huggingface"     # models and data sets
export TORCH_HOME="$cache/torch"        # torch.hub
export PIP_CACHE_DIR="$cache/pip"
export APPTAINER_CACHEDIR="$cache/apptainer" SINGULARITY_CACHEDIR="$cache/apptainer"
export MPLCONFIGDIR="$node/matplotlib"
export TRITON_CACHE_DIR="$node/triton"  # compiled kernels: anew in each job
export TORCHINDUCTOR_CACHE_DIR="$node/inductor"
