#!/bin/sh
# A worker that knows nothing of the backplane. It works unless there is a file "paused".
case "$1" in
run)
    trap 'echo "going home"; exit 0' TERM
    rm -f paused
    while :; do
        [ -e paused ] || echo "working"
        sleep 1 &
        wait $!
    done
    ;;
pause) touch paused ;;
resume) rm -f paused ;;
paused) test -e paused ;;
health) echo '{"waiting": 3}' ;;
loglevel) echo "$2" > level ;;
*) echo "what is $1?" >&2; exit 64 ;;
esac
