#!/usr/bin/env bash
# Run a command that opens windows, with a screen or without one.
#   tools/display.sh COMMAND ...            on the screen that is there, otherwise on a virtual one
#   tools/display.sh --virtual COMMAND ...  on a virtual screen where that is possible
#   tools/display.sh --has-screen           exit status 0 when there is a screen
# On Debian and Ubuntu the missing system packages are installed when root; otherwise the one line
# that installs them is printed and the command does not run.
set -euo pipefail

packages=(
    xvfb xauth libegl1 libgl1 libglx-mesa0 libgl1-mesa-dri libglib2.0-0 libxkbcommon-x11-0
    libxcb-cursor0 libxcb-icccm4 libxcb-image0 libxcb-keysyms1 libxcb-randr0 libxcb-render-util0
    libxcb-shape0 libxcb-xinerama0 libxcb-xfixes0 libdbus-1-3 libfontconfig1
)

has_screen() {
    [ "$(uname -s)" = Darwin ] || [ -n "${DISPLAY:-}" ] || [ -n "${WAYLAND_DISPLAY:-}" ]
}

# A package counts as there when another one provides it: libglib2.0-0 is libglib2.0-0t64 on newer
# systems.
missing_packages() {
    local there package
    there=$(dpkg-query -W -f='${db:Status-Abbrev}\t${Package}, ${Provides}\n' 2>/dev/null |
        sed -n 's/^ii *\t//p' | sed 's/([^)]*)//g' | tr ', ' '\n\n')
    for package in "${packages[@]}"; do
        grep -qxF "$package" <<<"$there" || echo "$package"
    done
}

ensure_packages() {
    command -v dpkg-query >/dev/null && command -v apt-get >/dev/null || return 0
    local missing
    missing=$(missing_packages | tr '\n' ' ')
    missing=${missing% }
    [ -z "$missing" ] && return
    if [ "$(id -u)" = 0 ]; then
        echo "Installing system packages for a virtual screen: $missing ..."
        export DEBIAN_FRONTEND=noninteractive
        apt-get update -qq
        # shellcheck disable=SC2086 # a list of words
        apt-get install -y -qq --no-install-recommends $missing >/dev/null
    else
        echo "There is no screen, and what a virtual one needs is missing." \
            "Run this once, then make again:" >&2
        echo "  sudo apt-get update && sudo apt-get install -y --no-install-recommends $missing" >&2
        return 1
    fi
}

virtual=no
case "${1:-}" in
--has-screen)
    has_screen
    exit
    ;;
--virtual)
    virtual=yes
    shift
    ;;
esac
[ $# -gt 0 ] || { echo "say what to run: tools/display.sh COMMAND ..." >&2; exit 2; }

if [ "$(uname -s)" = Darwin ]; then
    exec "$@"
fi
if has_screen && { [ "$virtual" = no ] || ! command -v xvfb-run >/dev/null; }; then
    exec "$@"
fi
ensure_packages
if ! command -v xvfb-run >/dev/null; then
    echo "There is no screen. Install Xvfb (the command xvfb-run) with this system's package" \
        "manager, or run this where there is a screen." >&2
    exit 1
fi
# A desktop's Wayland socket would win over the virtual screen.
unset WAYLAND_DISPLAY
exec xvfb-run -a -s "-screen 0 1600x1000x24" "$@"
