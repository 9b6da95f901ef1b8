#!/usr/bin/env bash
# Prints where a Chromium is on this machine, or a Chrome, and installs a Chromium with the
# system's own package manager where there is none. PROJECTORD_TEST_BROWSER names another.
set -eu
. "$(dirname "$0")/packages.sh"

# find_browser prints the first browser there is.
find_browser() {
	local candidate
	for candidate in "${PROJECTORD_TEST_BROWSER:-}" chromium chromium-browser google-chrome google-chrome-stable \
		/Applications/Chromium.app/Contents/MacOS/Chromium "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"; do
		if [ -n "$candidate" ] && command -v "$candidate"; then return 0; fi
		[ -z "${PROJECTORD_TEST_BROWSER:-}" ] || return 1
	done
	return 1
}

find_browser && exit 0
if [ -z "${PROJECTORD_TEST_BROWSER:-}" ]; then
	# A package manager that fails says so itself; what counts is what is there afterwards.
	if command -v apt-get >/dev/null && may_install; then
		apt_install chromium >&2 || true
	elif command -v dnf >/dev/null && may_install; then
		as_root dnf -y install chromium >&2 || true
	elif command -v brew >/dev/null; then
		brew install --cask chromium >&2 || true
	fi
	hash -r
	find_browser && exit 0
fi
echo "browser: there is none: install Chromium or Chrome, or set PROJECTORD_TEST_BROWSER to the program of one" >&2
exit 1
