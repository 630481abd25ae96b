. ./module.sh
short() { echo "$1: ${2//"$PWD"/.}"; }  # paths as seen from this folder

short "before" "$(command -v greeting || echo 'no program called greeting')"
module load greeting/2.0
short "after load" "$(command -v greeting)"
short "first entry of PATH" "${PATH%%:*}"
short "GREETING_HOME" "$GREETING_HOME"
short "loaded" "$LOADEDMODULES"
greeting
module unload greeting/2.0
short "after unload" "$(command -v greeting || echo 'no program called greeting')"
