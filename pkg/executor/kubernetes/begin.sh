# The job's command: becomes the wrapper, once.
d=$1
if ! mkdir "$d/begun"; then
	printf 'exit infra 98 0 0 0 the container was started again, and the job is not run twice\n' >"$3"
	exit 98
fi
# Where the image's user is not ours, its home is not either.
{ [ -n "$HOME" ] && [ -d "$HOME" ] && [ -w "$HOME" ]; } || HOME=$d/home
export HOME
exec sh "$d/wrapper" "$d" "$2" "$3"
