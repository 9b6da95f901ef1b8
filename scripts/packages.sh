# What the scripts here install packages with; they source it.

as_root() {
	if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

apt_get() {
	as_root env DEBIAN_FRONTEND=noninteractive apt-get -y -q -o DPkg::Lock::Timeout=120 "$@"
}

# apt_install refreshes the package lists only if it cannot do without.
apt_install() {
	apt_get install --no-install-recommends "$@" || {
		apt_get update
		apt_get install --no-install-recommends "$@"
	}
}

may_install() {
	[ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null
}
