#!/usr/bin/env bash
# Makes sure the two servers the tests run are on this machine: redis-server (or
# valkey-server) 7.0 or newer, and the Postgres server programs. Whatever is
# missing is installed with the system's own package manager. No service is
# started or enabled and no database cluster is created: the tests start private
# servers themselves. When both are there already, nothing is done.
#
# The places searched are the ones internal/testenv/find.go searches.
set -eu
. "$(dirname "$0")/packages.sh"

redis_floor=7
createcluster=/etc/postgresql-common/createcluster.conf
policy=/usr/sbin/policy-rc.d
undo_policy=no
undo_cluster=no
backup=

# version prints the first dotted number in its input.
version() {
	sed -n 's/^[^0-9]*\([0-9][0-9]*\(\.[0-9][0-9]*\)*\).*/\1/p' | head -n 1
}

# find_redis sets redis and redis_version to the first server that is new enough.
find_redis() {
	local places="${PROJECTORD_TEST_REDIS_SERVER:-}" candidate
	if [ -z "$places" ]; then
		places="$(command -v redis-server || true) $(command -v valkey-server || true)"
		for candidate in /usr/bin /usr/sbin /usr/local/bin /usr/local/sbin /opt/homebrew/bin \
			/usr/local/opt/redis/bin /opt/homebrew/opt/redis/bin /opt/redis/bin /opt/valkey/bin; do
			places="$places $candidate/redis-server $candidate/valkey-server"
		done
	fi
	redis='' redis_version=''
	for candidate in $places; do
		[ -x "$candidate" ] || continue
		redis_version=$("$candidate" --version | sed 's/.*v=/v=/' | version)
		[ "${redis_version%%.*}" -ge "$redis_floor" ] 2>/dev/null || continue
		redis=$candidate
		return 0
	done
	return 1
}

# find_postgres sets postgres to a directory with initdb and postgres in it.
find_postgres() {
	local candidate found
	postgres=''
	for candidate in "${PROJECTORD_TEST_POSTGRES_BIN:-}" "$(dirname "$(command -v postgres || echo /-)")"; do
		if [ -n "$candidate" ] && [ -x "$candidate/initdb" ] && [ -x "$candidate/postgres" ]; then
			postgres=$candidate
			return 0
		fi
		[ -z "${PROJECTORD_TEST_POSTGRES_BIN:-}" ] || return 1
	done
	# Globs expand in order, so the last one found is the newest of its kind.
	for candidate in /usr/local/pgsql/bin /usr/pgsql-*/bin /usr/local/opt/postgresql*/bin \
		/opt/homebrew/opt/postgresql*/bin /Applications/Postgres.app/Contents/Versions/latest/bin \
		/usr/lib/postgresql/*/bin; do
		if [ -x "$candidate/initdb" ] && [ -x "$candidate/postgres" ]; then found=$candidate; fi
	done
	postgres=${found:-}
	[ -n "$postgres" ]
}

# fail says what a person has to install, and gives up.
fail() {
	echo "setup: $1" >&2
	echo "setup: please install by hand:" >&2
	if [ -z "$redis" ]; then
		echo "  - redis-server $redis_floor.0 or newer (or valkey-server); elsewhere than in the usual places, set PROJECTORD_TEST_REDIS_SERVER to the program" >&2
	fi
	if [ -z "$postgres" ]; then
		echo "  - the Postgres server programs (initdb, postgres); elsewhere than in the usual places, set PROJECTORD_TEST_POSTGRES_BIN to their directory" >&2
	fi
	exit 1
}

# candidate_major prints the major version apt would install of a package.
candidate_major() {
	apt-cache policy "$1" 2>/dev/null | sed -n 's/^ *Candidate: \([0-9]*:\)\{0,1\}\([0-9]*\).*/\2/p'
}

restore() {
	if [ "$undo_policy" = yes ]; then as_root rm -f "$policy"; fi
	if [ "$undo_cluster" = yes ]; then as_root cp -p "$backup" "$createcluster"; fi
	if [ -n "$backup" ]; then as_root rm -f "$backup"; fi
}

# forbid_services makes package scripts believe that services may not be started.
# An answer the machine already gives is left alone.
forbid_services() {
	if [ ! -e "$policy" ]; then
		undo_policy=yes
		printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
		as_root chmod 755 "$policy"
	fi
}

# forbid_cluster keeps the Postgres package from creating a database cluster.
forbid_cluster() {
	apt_install postgresql-common
	if [ -e "$createcluster" ]; then
		backup=$(mktemp)
		as_root cp -p "$createcluster" "$backup"
		undo_cluster=yes
		echo 'create_main_cluster = false' | as_root tee -a "$createcluster" >/dev/null
	fi
}

# quiet stops and disables the units a package just brought. Where systemd does
# not run, disabling still removes the links it would follow at the next boot.
quiet() {
	local unit
	command -v systemctl >/dev/null || return 0
	for unit in "$@"; do
		as_root systemctl disable "$unit" >/dev/null 2>&1 || true
		if [ -d /run/systemd/system ]; then as_root systemctl stop "$unit" || true; fi
	done
}

install_with_apt() {
	local package
	trap restore EXIT
	forbid_services
	if [ -z "$redis" ]; then
		if [ -z "$(candidate_major redis-server)" ]; then apt_get update; fi
		for package in redis-server valkey-server; do
			if [ "$(candidate_major $package)" -ge "$redis_floor" ] 2>/dev/null; then
				apt_install $package
				quiet $package.service
				break
			fi
		done
	fi
	if [ -z "$postgres" ]; then
		forbid_cluster
		apt_install postgresql
		quiet postgresql.service
	fi
}

install_with_dnf() {
	# Packages of this family neither start nor enable a service.
	if [ -z "$redis" ]; then as_root dnf -y install redis || as_root dnf -y install valkey; fi
	if [ -z "$postgres" ]; then as_root dnf -y install postgresql-server; fi
}

install_with_brew() {
	if [ -z "$redis" ]; then brew install redis; fi
	if [ -z "$postgres" ]; then brew install postgresql@17; fi
}

find_redis || true
find_postgres || true

if [ -z "$redis" ] || [ -z "$postgres" ]; then
	# A package manager that fails says so itself; what counts is what is there afterwards.
	if command -v apt-get >/dev/null && may_install; then
		install_with_apt || true
	elif command -v dnf >/dev/null && may_install; then
		install_with_dnf || true
	elif command -v brew >/dev/null; then
		install_with_brew || true
	else
		fail "cannot install anything: that needs brew, or apt-get or dnf as root or with passwordless sudo"
	fi
	hash -r
	find_redis || true
	find_postgres || true
	if [ -z "$redis" ] || [ -z "$postgres" ]; then
		fail "the packages of this system do not provide all that is needed"
	fi
fi

echo "redis: $redis ($redis_version)"
echo "postgres: $postgres ($("$postgres/postgres" --version | version))"
