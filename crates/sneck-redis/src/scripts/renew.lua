-- Keep what is held for so long from now. ARGV[3]: ms. Answers {1}, or {0, how it is held, what stands there}: it is ours no more.
local life = ARGV[3]
local state, value = holding()
if value == 'sneck:' .. id then
  call('PEXPIRE', lock, life)
elseif state == 'shared' and call('ZSCORE', readers, id) then
  call('ZADD', readers, digits(now + life), id)
  settle()
else
  return { 0, state, value }
end
call('PEXPIRE', about(id), life)
return { 1 }
