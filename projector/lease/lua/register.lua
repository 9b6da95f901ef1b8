-- Opens a session under a name that was never used before.
--
-- KEYS[1]  {ns:p}:sessions
-- ARGV[1]  session
-- ARGV[2]  how long it lives without a heartbeat, in ms
--
-- Returns 1, or 0 where the name is taken.

return redis.call('HSETNX', KEYS[1], ARGV[1], NOW + ARGV[2])
