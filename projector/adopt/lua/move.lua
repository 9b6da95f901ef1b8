-- Moves positions, each only if it is still the one that it is moved from.
--
-- KEYS[1]  {ns}:adopted:<source>
-- ARGV     for each key: its name, the position it is moved from ('' for none), the new one
--
-- Returns for each key '' where it was moved, also by an earlier run of this call, else the
-- position that is there in its place, or ' ' where there is none.

local stands = {}
for i = 1, #ARGV, 3 do
	local is = redis.call('HGET', KEYS[1], ARGV[i]) or ''
	if is == ARGV[i + 1] or is == ARGV[i + 2] then
		redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 2])
		stands[#stands + 1] = ''
	elseif is == '' then
		stands[#stands + 1] = ' '
	else
		stands[#stands + 1] = is
	end
end
return stands
