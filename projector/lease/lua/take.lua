-- Gives a session a chunk of a backfill that nobody has.
--
-- KEYS[1]  {ns:p}:sessions
-- KEYS[2]  {ns:p}:backfill:<group>
-- KEYS[3]  {ns:p}:backfilled:<group>
-- ARGV[1]  group
-- ARGV[2]  session
--
-- Returns 0 where the session is dead (fenced), 1 where the partition is not filled yet, 2
-- where no chunk is left that nobody has; else the chunk's entry and the chunk.
--
-- Before it is filled nothing is handed out: whoever fills it anew deletes the chunks.

local group, me = ARGV[1], ARGV[2]
if not alive(me) then return 0 end
if not redis.call('HGET', KEYS[3], 'filled') then return 1 end
local got = redis.call('XREADGROUP', 'GROUP', group, me, 'COUNT', 1, 'STREAMS', KEYS[2], '>')
if not got then return 2 end
local entry = got[1][2][1]
return {entry[1], entry[2][2]}
