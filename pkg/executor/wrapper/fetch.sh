# Gets the source of a job into the folder $d, which has its address in the file url.

# fetch gets the source with what there is. The address is in no process's arguments
# where that can be helped.
fetch() {
	read -r url <"$d/url"
	[ "$url" ] || url=$(cat "$d/url")
	for try in 1 2 3; do
		rm -f "$d/source"
		if command -v curl >/dev/null; then
			printf 'url = "%s"\n' "$url" | curl -fsSL --max-time 900 -K - -o "$d/source" && return
		elif command -v wget >/dev/null && wget --version >/dev/null; then
			printf '%s\n' "$url" | wget -q -T 60 -t 1 -i - -O "$d/source" && return
		elif python=$(command -v python3 || command -v python); then
			"$python" -c 'import shutil, sys
try:
    from urllib.request import urlopen
except ImportError:
    from urllib2 import urlopen
with open(sys.argv[1] + "/url") as f:
    url = f.read().strip()
with open(sys.argv[1] + "/source", "wb") as f:
    shutil.copyfileobj(urlopen(url, timeout=60), f)' "$d" && return
		elif install; then
			continue
		elif command -v wget >/dev/null; then
			# Busybox's takes the address from nowhere else; nothing but this runs here yet.
			wget -q -O "$d/source" "$url" && return
		else
			return 2
		fi
		sleep "$try"
	done
	return 1
}
# install gets a tool for fetching into images that have none, as the usual base
# images of distributions do.
install() {
	[ ! -e "$d/installed" ] && [ "$(id -u)" = 0 ] || return 1
	: >"$d/installed"
	if command -v apt-get; then
		apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends curl ca-certificates
	elif command -v apk; then
		apk add --no-cache curl
	elif command -v microdnf; then
		microdnf install -y curl
	elif command -v dnf; then
		dnf -q install -y curl
	elif command -v yum; then
		yum -q install -y curl
	fi >/dev/null
	command -v curl >/dev/null
}
# unpack strips the archive's one top folder.
unpack() {
	mkdir "$d/unpacked" || return
	if command -v tar >/dev/null; then
		gzip -dc <"$d/source" | tar -xof - -C "$d/unpacked" || return
	elif python=$(command -v python3 || command -v python); then
		"$python" -c 'import sys, tarfile; tarfile.open(sys.argv[1]).extractall(sys.argv[2])' "$d/source" "$d/unpacked" || return
	else
		return 1
	fi
	rm -f "$d/source"
	set -- "$d"/unpacked/*
	[ $# = 1 ] && [ -d "$1" ] && mv "$1" "$d/workspace"
}
