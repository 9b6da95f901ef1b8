# Keeps one server for a process: sh -c "$script" keeper DIR SIGNAL
#
# Standard input is a pipe that only that process holds. When that process
# ends, however it ends, the pipe closes; the keeper then stops the server with
# SIGNAL and removes DIR. Until then it obeys the lines it reads:
#
#   exec COMMAND ...   starts a program in the background, answers its pid
#   wait               waits until that program has ended, answers its exit status
dir=$1 signal=$2 pid=

# A signal meant for that process interrupts the read below and so ends the
# loop. The traps keep it from ending the keeper before it has cleaned up.
trap : HUP INT TERM

while read -r line; do
	case $line in
	wait)
		wait "$pid"
		echo "$?"
		pid= # no longer ours to signal
		;;
	*)
		# exec makes the server itself, not a shell around it, the child that $! names.
		eval "$line" </dev/null >>"$dir/log" 2>&1 &
		pid=$!
		echo "$pid"
		;;
	esac
done

if [ -n "$pid" ]; then
	kill -s "$signal" "$pid" 2>/dev/null
	wait "$pid"
fi
cd / && rm -rf "$dir"
