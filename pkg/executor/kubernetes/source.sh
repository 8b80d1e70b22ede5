# The init container's command: puts wrapper, script and task into the job's folder,
# fetches the source and unpacks it. Any POSIX shell, with gzip, tar and curl or wget.
d=$1
parts=$2
final=$3
umask 022
fail() {
	rm -f "$d/url"
	printf 'exit infra %s 0 0 0 %s\n' "$1" "$2" >"$final"
	exit "$1"
}
for part in wrapper script task; do
	gzip -dc <"$parts/$part" >"$d/$part" || fail 96 'the source image lacks gzip, or the volume is full'
done
if [ -s "$parts/url" ]; then
	cat "$parts/url" >"$d/url"
	fetch
	case $? in
	0) ;;
	2) fail 96 'the source could not be fetched: the source image needs curl, wget or python' ;;
	*) fail 96 'the source could not be fetched, or was fetched before' ;;
	esac
	rm -f "$d/url"
	unpack || fail 96 'the source could not be unpacked: the source image needs tar and gzip, and the volume room'
	rm -rf "$d/unpacked"
else
	mkdir "$d/workspace" || fail 96 'the workspace cannot be made'
fi
