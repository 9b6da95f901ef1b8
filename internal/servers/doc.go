// Package servers starts real servers for a while: Redis alone or as a cluster, and
// Postgres. They are found on the machine (see scripts/setup.sh), get free ports of
// 127.0.0.1 and data of their own, and never outlive the process, not even where that is
// killed.
//
// These variables point at something other than what would be found:
//
//	PROJECTORD_TEST_REDIS_SERVER  the redis-server or valkey-server program
//	PROJECTORD_TEST_POSTGRES_BIN  the directory with initdb and postgres
package servers
