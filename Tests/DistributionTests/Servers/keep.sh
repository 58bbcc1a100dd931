#!/bin/sh
# Runs a server until standard input ends, which it does when the tests that started this are gone, however they went.
exec 3<&0 </dev/null
"$@" &
server=$!
trap 'kill "$server" 2>/dev/null; wait "$server"; exit 0' TERM INT
cat <&3 >/dev/null &
watch=$!
# Whichever ends first: the server by itself, or the tests.
while kill -0 "$server" 2>/dev/null && kill -0 "$watch" 2>/dev/null; do sleep 0.2; done
kill "$server" "$watch" 2>/dev/null
wait "$server"
