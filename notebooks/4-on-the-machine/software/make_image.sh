# An image by hand: a folder that has what a root file system needs for four programs.
mkdir -p image/bin image/lib image/etc image/project image/proc
echo 'NAME="Practice Linux"' > image/etc/os-release
for program in sh ls cat uname; do
    path=$(readlink -f "$(type -P "$program")")
    cp "$path" "image/bin/$program"
    # the libraries that the program needs, and the loader, which must lie where the program looks for it
    for library in $(ldd "$path" | grep -o '/[^ ]*'); do
        case "$library" in
            */ld-*) mkdir -p "image$(dirname "$library")" && cp "$library" "image$library" ;;
            *) cp "$library" image/lib/ ;;
        esac
    done
done
