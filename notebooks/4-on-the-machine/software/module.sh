# What a module system does, as one function of the shell: it edits variables.
module() {
    local action=$1 name=$2 word variable value
    if [ "$action" = purge ]; then
        for name in ${LOADEDMODULES//:/ }; do module unload "$name"; done
        return
    fi
    while read -r word variable value; do
        value="$PWD/$value"  # our modulefiles give paths below this folder
        case "$action $word" in
            "load prepend-path") export "$variable=$value:${!variable}" ;;
            "unload prepend-path") export "$variable=${!variable/"$value:"/}" ;;
            "load setenv") export "$variable=$value" ;;
            "unload setenv") unset "$variable" ;;
        esac
    done < "modulefiles/$name"
    case "$action" in
        load) export LOADEDMODULES="${LOADEDMODULES:+$LOADEDMODULES:}$name" ;;
        unload) export LOADEDMODULES="${LOADEDMODULES/"$name"/}" ;;
    esac
}
