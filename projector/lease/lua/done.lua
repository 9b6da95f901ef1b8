-- Ends the work on a chunk of a backfill, all streams of which stand at the heads it
-- names, or beyond.
--
-- KEYS[1]  {ns:p}:sessions
-- KEYS[2]  {ns:p}:backfill:<group>
-- KEYS[3]  {ns:p}:backfilled:<group>
-- ARGV[1]  group
-- ARGV[2]  session
-- ARGV[3]  the chunk's entry
-- ARGV[4]  how many streams it has
-- ARGV[5]  how many events those have
--
-- Returns 0 where the session is dead (fenced), 1 where it was done, 3 where the
-- chunk is not the caller's; then nothing was written.

local group, me, entry = ARGV[1], ARGV[2], ARGV[3]
if not alive(me) then return 0 end
if #redis.call('XPENDING', KEYS[2], group, entry, entry, 1, me) == 0 then return 3 end
redis.call('XACK', KEYS[2], group, entry)
redis.call('XDEL', KEYS[2], entry)
redis.call('HINCRBY', KEYS[3], 'streams_done', ARGV[4])
redis.call('HINCRBY', KEYS[3], 'events_done', ARGV[5])
redis.call('HINCRBY', KEYS[3], 'events_by:' .. string.gsub(me, '%.[^.]*$', ''), ARGV[5])
return 1
