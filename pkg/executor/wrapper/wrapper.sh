# Runs the job's script: fetches the source, keeps deadline and grace, writes the log
# and tells the end. Any POSIX shell; what the image lacks is done without, or said.
#
# Lines of its own begin with the mark, and no line of the script does:
#   begin TIME                                   the script begins; milliseconds since 1970
#   = TEXT                                       a line; \ooo and \\ are bytes
#   + TEXT                                       the same without its newline; \n is one
#   # BASE64                                     bytes
#   @ OFFSET [SECONDS]                           the log goes on there; seconds since 1970
#   exit REASON CODE SIZE BEGAN ENDED MESSAGE    the last line
# Its arguments are the job's folder, a file that asks for the end by holding a grace in
# milliseconds, and a file for the last line; the latter two may be empty. The folder's
# file task sets nonce, timeout, grace (milliseconds), head, tail (bytes), gpu (there must
# be one), marks (places are told all along the log) and the script's environment.
d=$1
stop=$2
final=$3
main=$$
. "$d/task"
mark="##litci-$nonce "
out=$d/out
umask 022
exec 2>/dev/null

# The time in t, in milliseconds; the kernel's own is not set back.
now() {
	if read -r t rest </proc/uptime; then
		t=${t%.*}${t#*.}0
	else
		t=$(date +%s)000
	fi
}
wall() {
	w=$(date +%s%N)
	case $w in
	*[!0-9]*) w=$(date +%s)000 ;;
	*) if [ ${#w} -gt 16 ]; then w=${w%??????}; else w=$(date +%s)000; fi ;;
	esac
}
say() { printf 'litci: %s\n' "$1" >>"$out"; }
bytes() { wc -c <"$1" | tr -d ' '; }

# Everything that waits here may be woken: by a request to stop, by the script's end.
asked=
trap 'asked=1' TERM INT HUP
trap ':' USR1
# heed looks whether the end is asked for by a file. A later word may shorten the grace.
heed() {
	[ "$stop" ] || return
	g=
	read -r g <"$stop"
	case $g in
	'' | *[!0-9]*) return ;;
	esac
	[ -z "$asked" ] || [ "$g" -lt "$grace" ] && grace=$g
	asked=1
}
tick=1
sleep 0.01 && tick=0.5
nap() {
	sleep "$tick" &
	wait $!
	kill $!
}

# --- the log ---

utf8='[\302-\337][\200-\277]|\340[\240-\277][\200-\277]|[\341-\354\356\357][\200-\277][\200-\277]|\355[\200-\237][\200-\277]|\360[\220-\277][\200-\277][\200-\277]|[\361-\363][\200-\277][\200-\277][\200-\277]|\364[\200-\217][\200-\277][\200-\277]'
coder='
BEGIN {
	for (i = 1; i < 256; i++) code[sprintf("%c", i)] = i
	plain = "^([\011\033\040-\176]|" utf8 ")*$"
	text = "^([\001-\177]|" utf8 ")*$"
}
function escape(s, high,   i, c, n, r) {
	r = ""
	for (i = 1; i <= length(s); i++) {
		c = substr(s, i, 1)
		n = code[c]
		if (c == "\\") r = r "\\\\"
		else if (n < 32 && n != 9 && n != 27 || n == 127 || n > 127 && !high) r = r sprintf("\\%03o", n)
		else r = r c
	}
	return r
}
end == "*" {
	t = $0
	if (length(t) > 4000) {
		if (b != "") print mark "+ " b
		while (length(t) > 1000) { print mark "+ " escape(substr(t, 1, 1000), 0); t = substr(t, 1001) }
		b = escape(t, 0) "\\n"
		next
	}
	if (t !~ plain) t = escape(t, t ~ text)
	else if (index(t, "\\")) t = escape(t, 1)
	if (length(b) + length(t) > 8000) { print mark "+ " b; b = "" }
	b = b t "\\n"
	next
}
end == "=" && length($0) <= 4000 && index($0, mark) != 1 && $0 ~ plain { print; next }
{
	if (length($0) <= 4000) { print mark end " " escape($0, $0 ~ text); next }
	s = $0
	while (length(s) > 1000) { print mark "+ " escape(substr(s, 1, 1000), 0); s = substr(s, 1001) }
	print mark end " " escape(s, 0)
}
END { if (b != "") print mark "+ " b }'
translate() { LC_ALL=C awk -v mark="$mark" -v end="$1" -v utf8="$utf8" "$coder"; }
# An awk that does not know bytes is not used.
able=$([ "$(printf 'a\377\r\\\303\251\n\303\251\n' | translate =)" = "${mark}= a\\377\\015\\\\\\303\\251
$(printf '\303\251')" ] && echo yes)

# encode FILE END prints a piece of the log: lines (=), many at once (*), or a part of
# one (+).
encode() {
	if [ "$able" ] && [ "$(tr -d '\000' <"$1" | wc -c)" -eq "$(wc -c <"$1")" ]; then
		translate "$2" <"$1"
	elif [ "$2" != + ] && [ "$(LC_ALL=C tr -d '\011\012\033\040-\176' <"$1" | wc -c)" -eq 0 ] && ! grep -q "^$mark" "$1"; then
		cat "$1"
	else
		base64 "$1" | sed "s/^/$mark# /"
	fi
}

# sent is how much of the log was printed, base where the file begins in it. Places are
# told once for each five blocks, which must be more than 64 KiB from anywhere in the first.
sent=0
base=0
block=65536
[ "$marks" ] && block=16384
# place tells where the log is, for who reads it from the middle.
place() {
	[ "$marks" ] || return
	wall
	printf '%s@ %s %s\n' "$mark" "$sent" "${w%???}"
}
# emit [all] prints what is new, in whole lines; with all, the rest of the last one too.
emit() {
	told=$sent
	while [ "$sent" -lt "$head" ]; do
		size=$(bytes "$out")
		pos=$((sent - base))
		[ "$pos" -lt "$size" ] || break
		dd if="$out" bs=$block skip=$((pos / block)) count=5 | tail -c +$((pos % block + 1)) | head -c $((head - sent)) >"$d/piece"
		got=$(bytes "$d/piece")
		lines=$(wc -l <"$d/piece" | tr -d ' ')
		if [ "$lines" -gt 0 ]; then
			head -n "$lines" "$d/piece" >"$d/lines"
			place
			# A machine that adds a time to each line has no room for many short ones.
			if [ "$marks" ] && [ "$lines" -gt 500 ]; then
				encode "$d/lines" '*'
			else
				encode "$d/lines" =
			fi
			sent=$((sent + $(bytes "$d/lines")))
		elif [ "$got" -gt 65536 ] || [ "$1" ] || [ $((sent + got)) -ge "$head" ]; then
			place
			encode "$d/piece" +
			sent=$((sent + got))
		else
			break
		fi
	done
	[ "$sent" -gt "$told" ] && place
	# The disk is not the script's to fill by talking.
	size=$(bytes "$out")
	if [ -z "$1" ] && [ "$size" -gt $((268435456 + tail)) ]; then
		tail -c "$tail" "$out" >"$d/before"
		base=$((base + $(bytes "$out")))
		: >"$out"
	fi
}
# finish prints the rest of the log, or its end where it is too large, and sets total.
finish() {
	emit all
	total=$((base + $(bytes "$out")))
	if [ "$sent" -lt "$total" ]; then
		cat "$d/before" "$out" | tail -c "$tail" >"$d/rest"
		keep=$(bytes "$d/rest")
		if [ "$keep" -gt $((total - sent)) ]; then
			keep=$((total - sent))
			tail -c "$keep" "$d/rest" >"$out"
		else
			mv "$d/rest" "$out"
		fi
		base=$((total - keep))
		[ "$base" -gt "$sent" ] && printf '%s@ %s\n' "$mark" "$base"
		sent=$base
		head=$((total + 1))
		emit all
	fi
}
# leave REASON CODE MESSAGE is the end.
leave() {
	finish
	wall
	last="exit $1 $2 $total ${began:-0} ${ended:-$w} $3"
	printf '%s%s\n' "$mark" "$last"
	[ "$final" ] && printf '%s\n' "$last" >"$final"
	code=$2
	[ "$1" != exit ] && [ "$code" = 0 ] && code=124
	exit "$code"
}

# --- before the script ---

# prepare leaves "CODE MESSAGE" of what went wrong in the file trouble.
prepare() {
	if [ "$gpu" ] && ! nvidia-smi -L >/dev/null && ! [ -e /dev/nvidia0 ]; then
		echo '97 the machine has no GPU, and one was asked for' >"$d/trouble"
	elif [ -s "$d/url" ]; then
		fetch
		case $? in
		0) unpack || echo '96 the source could not be unpacked: the image needs tar and gzip' >"$d/trouble" ;;
		2) echo '96 the source could not be fetched: the image needs curl, wget or python' >"$d/trouble" ;;
		*) echo '96 the source could not be fetched, or was fetched before' >"$d/trouble" ;;
		esac
	else
		mkdir "$d/workspace"
	fi
	rm -f "$d/url"
	kill -USR1 $main
	: >"$d/prepared"
}
# kills is how often memory ran out in this container.
kills() {
	for f in /sys/fs/cgroup/memory.events /sys/fs/cgroup/memory/memory.oom_control; do
		sed -n 's/^oom_kill //p' "$f"
	done | head -n 1
}

: >"$out"
: >"$d/before"
mkdir "$d/tmp" "$d/home"
: >"$d/summary"
prepare >/dev/null </dev/null &
preparing=$!
until [ -f "$d/prepared" ]; do
	heed
	[ "$asked" ] && kill $preparing && leave term 143 'ended before the script began'
	nap
done
heed
[ "$asked" ] && leave term 143 'ended before the script began'
if [ -f "$d/trouble" ]; then
	read -r code message <"$d/trouble"
	leave infra "$code" "$message"
fi

# --- the script ---

shell='bash -eo pipefail'
if ! command -v bash >/dev/null; then
	shell='sh -e'
	say 'the image has no bash: the script is run by sh -e'
fi
session=
command -v setsid >/dev/null && session=setsid
before=$(kills)
mkfifo "$d/pipe" || leave infra 96 'the image lacks mkfifo'
{
	cat <"$d/pipe" >>"$out"
	: >"$d/drained"
	kill -USR1 $main
} </dev/null >/dev/null &
wall
began=$w
printf '%sbegin %s\n' "$mark" "$began"
now
start=$t
{
	trap : TERM INT HUP # ignored ones would stay so in the script
	. "$d/task"
	cd "$d/workspace" || exit
	$session env "$@" $shell "$d/script" </dev/null >"$d/pipe" 2>&1 &
	p=$!
	echo $p >"$d/pid"
	while :; do
		wait $p
		rc=$?
		kill -0 $p || break
	done
	echo $rc >"$d/rc.new"
	mv "$d/rc.new" "$d/rc"
	kill -USR1 $main
} </dev/null >/dev/null &

# members prints the environ files of the script's processes, also of those that left
# its session. Some greps see nothing behind a zero byte.
deep=$(printf 'a\000b\n' | grep -qF b && echo yes)
members() {
	if [ "$deep" ]; then
		grep -lsF "LITCI_WORKSPACE=$d/workspace" /proc/[0-9]*/environ
		return
	fi
	for e in /proc/[0-9]*/environ; do
		tr '\000' '\n' <"$e" | grep -qxF "LITCI_WORKSPACE=$d/workspace" && echo "$e"
	done
}
# signal NAME reaches the script and everything that came from it, each once; with
# KILL, what cleared its environment too.
signal() {
	read -r pid <"$d/pid" || return
	reached=
	for e in $(members); do
		p=${e#/proc/}
		kill -"$1" "${p%/environ}" && reached=1
	done
	if [ "$1" = KILL ] || [ -z "$reached" ]; then
		if [ "$session" ]; then kill -"$1" "-$pid"; else kill -"$1" "$pid"; fi && reached=1
	fi
	[ "$reached" ]
}

ending=
until [ -f "$d/rc" ]; do
	emit
	heed
	now
	if [ -z "$ending" ]; then
		if [ "$asked" ]; then
			ending=term
		elif [ "$timeout" -gt 0 ] && [ $((t - start)) -ge "$timeout" ]; then
			ending=timeout
		fi
		# A script that is just being begun cannot be reached yet.
		[ "$ending" ] && { signal TERM || ending=; }
		since=$t
	elif [ "$t" -ge $((since + grace)) ]; then
		signal KILL
		[ "$t" -ge $((since + grace + 30000)) ] && echo 137 >"$d/rc"
	fi
	[ -f "$d/rc" ] || nap
done
now
ended=$((began + t - start))
read -r rc <"$d/rc"
give_up=$((t + 10000))
until [ -f "$d/drained" ] || [ "$t" -ge "$give_up" ]; do
	signal KILL
	nap
	now
done
signal KILL

reason=exit
message=
[ "$asked" ] && reason=term
[ "$ending" ] && reason=$ending
after=$(kills)
[ $reason = exit ] && [ "$rc" != 0 ] && [ "${after:-0}" -gt "${before:-0}" ] && reason=memory
leave "$reason" "$rc" "$message"
