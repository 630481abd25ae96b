# A container by hand: a process in a mount namespace of its own, with image/ as its root.
#   bash contain.sh [--bind FOLDER] COMMAND...      FOLDER appears inside as /project
if [ "$1" = --bind ]; then export FOLDER=$2; shift 2; fi
export LD_LIBRARY_PATH=/lib
exec unshare --user --map-root-user --mount sh -c '
    [ -z "$FOLDER" ] || mount --bind "$FOLDER" image/project
    exec chroot image "$@"' contain "$@"
