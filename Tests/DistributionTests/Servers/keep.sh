#!/bin/sh
# Runs a server until standard input ends, which it does when the tests that started this are gone, however they went.
exec 3<&0 </dev/null
"$@" 3<&- &
server=$!
read -r _ <&3
kill "$server" 2>/dev/null
wait "$server"
