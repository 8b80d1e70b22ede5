# The command of a job: makes the job's folder, unpacks the wrapper, the script and the
# task from the environment, and becomes the wrapper. Any POSIX shell.
d=${TMPDIR:-/tmp}/@ID@
fail() { echo "##litci-@NONCE@ exit infra $1 0 0 0 $2"; exit "$1"; }
umask 077
if ! mkdir "$d" 2>/dev/null; then
	[ -d "$d" ] && fail 98 'the machine was started again, and the job is not run twice'
	fail 96 "folder $d cannot be made"
fi
chmod 755 "$d"
part() {
	i=0
	while eval "v=\${LITCI_$1_$i-}" && [ -n "$v" ]; do
		printf %s "$v"
		i=$((i + 1))
	done | base64 -d 2>/dev/null | gzip -dc >"$d/$2" 2>/dev/null || fail 96 'the image lacks base64 or gzip'
}
part WRAPPER wrapper
part SCRIPT script
part TASK task
printf %s "${LITCI_SOURCE_URL-}" >"$d/url"
unset v
for n in JOB HASH INSTANCE SOURCE_URL; do unset "LITCI_$n"; done
for n in WRAPPER SCRIPT TASK; do
	i=0
	while eval "[ -n \"\${LITCI_${n}_$i-}\" ]"; do
		unset "LITCI_${n}_$i"
		i=$((i + 1))
	done
done
unset n i LIGHTNING_API_KEY LIGHTNING_AUTH_TOKEN LIGHTNING_USER_ID
exec sh "$d/wrapper" "$d"
