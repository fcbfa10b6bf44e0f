# Sourced by the run_*.sh scripts: their options, read word by word. Expects value_options and flags.

usage() { # the header of the script that was called, then the options
    awk 'NR > 1 { if (!/^#/) exit; sub(/^# ?/, ""); print }' "$0"
    known
}

known() {
    printf '\nOptions with a value:\n'
    printf '  %s\n' "${value_options[@]}"
    printf 'Flags:\n'
    printf '  %s\n' "${flags[@]}"
}

fail() {
    printf '%s: %s\n' "${0##*/}" "$1" >&2
    exit 2
}

is_in() { # is_in WORD LIST...
    local word=$1 entry
    shift
    for entry; do
        [[ $entry != "$word" ]] || return 0
    done
    return 1
}

# read_option WORD...: reads the option that the words begin with. Sets name, option (--FLAG, or --name=VALUE in
# one word, so that Python takes a value with leading dashes; empty for a last backslash) and words, how many it took.
read_option() {
    name=${1%%=*} option=$1 words=1
    if [[ $1 == -h || $1 == --help ]]; then
        usage
        exit 0
    elif [[ $1 == \\ ]] && (($# == 1)); then
        option='' # the line-end backslash of a copied command, with no line after it
    elif is_in "$1" "${flags[@]}"; then
        :
    elif is_in "$name" "${flags[@]}"; then
        fail "$name is a flag and takes no value, found $1"
    elif ! is_in "$name" "${value_options[@]}"; then
        fail "unknown argument '$1'. $(known)"
    elif [[ $1 == *=* ]]; then
        :
    elif (($# == 1)); then
        fail "$name needs a value"
    elif is_in "$2" "${value_options[@]}" "${flags[@]}"; then
        fail "$name needs a value, found the option $2 (if that is the value: $name=$2)"
    else
        option=$1=$2 words=2
    fi
}
