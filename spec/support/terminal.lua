--- Runs the program in a terminal of its own (a pty), types, and says what stands on the screen.
--
--   local terminal = require "spec.support.terminal"
--   local t = terminal.open({ "replay", "device" }, { db = dsn })
--   t:expect("step %d+")          -- waits until the screen matches; returns the captures
--   t:type("n\r")
--   t:screen()                    -- the screen's text; t:text() with what has scrolled off it
--   t:raw()                       -- every byte that was written, colours included
--   t:signal("INT"); t:wait()     -- the exit code
--   t:close()
--
--   local r = terminal.run({ "state", "device", "d-1" }, { db = dsn })   -- r.code, r.screen, r.raw
--
-- options: db (DATABASE_URL), columns (100), rows (40), env (table), cwd, program, timeout (seconds; run() only)
local ffi = require "ffi"
local files = require "spec.support.files"
local moonwake = require "spec.support.moonwake"
local pg = require "spec.support.pg"

ffi.cdef [[
struct mw_winsize { unsigned short row, col, xpixel, ypixel; };
struct mw_pollfd { int fd; short events, revents; };
int forkpty(int *master, char *name, const void *termios, const struct mw_winsize *size);
int execvp(const char *file, char *const argv[]);
void _exit(int status);
long read(int fd, void *buf, size_t n);
long write(int fd, const void *buf, size_t n);
int close(int fd);
int waitpid(int pid, int *status, int options);
int kill(int pid, int sig);
]]

local POLLIN, WNOHANG, F_SETFD, FD_CLOEXEC = 1, 1, 2, 1
local SIGNALS = { HUP = 1, INT = 2, KILL = 9, TERM = 15, CONT = 18, WINCH = 28 }

local libutil = pcall(function() return ffi.C.forkpty end) and ffi.C or ffi.load("util")

local terminal = {}
local Terminal = {}
Terminal.__index = Terminal


-- The screen: lines of cells, each the bytes of one character.

local Screen = {}
Screen.__index = Screen

local function new_screen(columns, rows)
  local s = setmetatable({ columns = columns, rows = rows, lines = {}, past = {}, x = 1, y = 1, pending = "" }, Screen)
  for y = 1, rows do
    s.lines[y] = {}
  end
  return s
end

function Screen:feed_line()
  if self.y < self.rows then
    self.y = self.y + 1
    return
  end
  if not self.other then -- what scrolls off the alternate screen is gone
    self.past[#self.past + 1] = table.remove(self.lines, 1)
  else
    table.remove(self.lines, 1)
  end
  self.lines[self.rows] = {}
end

function Screen:put(character)
  if self.x > self.columns then
    self.x = 1
    self:feed_line()
  end
  local line = self.lines[self.y]
  for x = #line + 1, self.x - 1 do
    line[x] = " "
  end
  line[self.x] = character
  self.x = self.x + 1
end

local function blank(line, from, to)
  for x = from, math.min(to, #line) do
    line[x] = " "
  end
end

local ERASE_LINE = {
  [0] = function(s, line) blank(line, s.x, #line) end,
  function(s, line) blank(line, 1, s.x) end,
  function(_, line) blank(line, 1, #line) end,
}

local function clear_lines(s, from, to)
  for y = from, to do
    s.lines[y] = {}
  end
end

local CONTROL = {
  A = function(s, n) s.y = math.max(1, s.y - n) end,
  B = function(s, n) s.y = math.min(s.rows, s.y + n) end,
  C = function(s, n) s.x = math.min(s.columns, s.x + n) end,
  D = function(s, n) s.x = math.max(1, math.min(s.x, s.columns) - n) end,
  G = function(s, n) s.x = n end,
  d = function(s, n) s.y = math.min(s.rows, n) end,
  H = function(s, y, x) s.y, s.x = math.min(s.rows, y), math.min(s.columns, x or 1) end,
  K = function(s, _, _, n) ERASE_LINE[n](s, s.lines[s.y]) end,
  J = function(s, _, _, n)
    if n == 0 then
      ERASE_LINE[0](s, s.lines[s.y])
      clear_lines(s, s.y + 1, s.rows)
    elseif n == 1 then
      ERASE_LINE[1](s, s.lines[s.y])
      clear_lines(s, 1, s.y - 1)
    else
      clear_lines(s, 1, s.rows)
    end
  end,
  P = function(s, n)
    for _ = 1, math.min(n, #s.lines[s.y] - s.x + 1) do
      table.remove(s.lines[s.y], s.x)
    end
  end,
  ["@"] = function(s, n)
    for _ = 1, s.x <= #s.lines[s.y] and n or 0 do
      table.insert(s.lines[s.y], s.x, " ")
    end
  end,
  X = function(s, n) blank(s.lines[s.y], s.x, s.x + n - 1) end,
}
CONTROL.f = CONTROL.H

function Screen:control(private, words, letter)
  if private == "?" then
    if words:match("1049") or words:match("^47") then
      if letter == "h" and not self.other then
        self.other = { lines = self.lines, x = self.x, y = self.y }
        self.lines = {}
        clear_lines(self, 1, self.rows)
      elseif letter == "l" and self.other then
        self.lines, self.x, self.y = self.other.lines, self.other.x, self.other.y
        self.other = nil
      end
    end
    return
  end
  local first, second = words:match("^(%d*);?(%d*)")
  if CONTROL[letter] then
    CONTROL[letter](self, math.max(1, tonumber(first) or 1), math.max(1, tonumber(second) or 1), tonumber(first) or 0)
  end
end

local PLAIN = {
  ["\r"] = function(s) s.x = 1 end,
  ["\n"] = function(s) s:feed_line() end,
  ["\b"] = function(s) s.x = math.max(1, math.min(s.x, s.columns) - 1) end,
  ["\t"] = function(s) s.x = math.min(s.columns, math.floor((s.x - 1) / 8) * 8 + 9) end,
}

--- Takes one character or sequence from the front of `text`; returns where the next begins, or nil where more bytes are
-- needed.
function Screen:step(text, at)
  local byte = text:byte(at)
  if byte == 27 then
    local private, words, letter, behind = text:match("^\27%[([?>=]?)([%d;]*)[ !\"#$%%]?([@-~])()", at)
    if letter then
      self:control(private, words, letter)
      return behind
    end
    return text:match("^\27%][^\7\27]*\7()", at) or text:match("^\27%][^\7\27]*\27\\()", at)
      or text:match("^\27[()].()", at) or text:match("^\27[^%[%]()]()", at)
  elseif byte < 32 or byte == 127 then
    if PLAIN[text:sub(at, at)] then
      PLAIN[text:sub(at, at)](self)
    end
    return at + 1
  end
  local n = byte < 0x80 and 1 or byte < 0xe0 and 2 or byte < 0xf0 and 3 or 4
  if at + n - 1 > #text then
    return nil
  end
  self:put(text:sub(at, at + n - 1))
  return at + n
end

function Screen:feed(bytes)
  local text, at = self.pending .. bytes, 1
  while at <= #text do
    local behind = self:step(text, at)
    if not behind then
      break
    end
    at = behind
  end
  self.pending = text:sub(at)
end

local function text_of(lines)
  local out = {}
  for i, line in ipairs(lines) do
    out[i] = table.concat(line):gsub(" +$", "")
  end
  return (table.concat(out, "\n"):gsub("\n+$", ""))
end


-- The program behind it.

local function command_line(args, opts)
  local words = { "exec env -u DATABASE_URL -u PGHOST -u PGPORT -u PGDATABASE -u PGUSER -u NO_COLOR -u COLUMNS -u LINES",
    "TERM=xterm" }
  if opts.db then
    words[#words + 1] = "DATABASE_URL=" .. files.quote(opts.db)
  end
  for name, value in pairs(opts.env or {}) do
    words[#words + 1] = name .. "=" .. files.quote(value)
  end
  words[#words + 1] = files.quote(opts.program or moonwake.bin)
  for _, arg in ipairs(args) do
    words[#words + 1] = files.quote(arg)
  end
  return ("cd %s && %s"):format(files.quote(opts.cwd or "."), table.concat(words, " "))
end

local function spawn(command, columns, rows)
  local words = { "sh", "-c", command }
  local argv = ffi.new("const char *[4]", words)
  local master = ffi.new("int[1]")
  local size = ffi.new("struct mw_winsize", { rows, columns })
  local pid = libutil.forkpty(master, nil, nil, size)
  if pid == 0 then
    ffi.C.execvp("/bin/sh", ffi.cast("char *const *", argv))
    ffi.C._exit(127)
  end
  assert(pid > 0, "no terminal could be made")
  ffi.C.fcntl(master[0], F_SETFD, ffi.new("int", FD_CLOEXEC))
  return pid, master[0]
end
jit.off(spawn)

function terminal.open(args, opts)
  opts = opts or {}
  local columns, rows = opts.columns or 100, opts.rows or 40
  local pid, fd = spawn(command_line(args, opts), columns, rows)
  return setmetatable({ pid = pid, fd = fd, bytes = {}, display = new_screen(columns, rows) }, Terminal)
end

--- Reads what is there, waiting up to so many milliseconds for the first byte: true when there was something, nil when
-- not, false at the end.
function Terminal:pump(ms)
  if self.eof then
    return false
  end
  local poll = ffi.new("struct mw_pollfd[1]", { { self.fd, POLLIN, 0 } })
  if ffi.C.poll(poll, 1, ms or 0) <= 0 then
    return nil
  end
  local buffer = ffi.new("char[65536]")
  local n = tonumber(ffi.C.read(self.fd, buffer, 65536))
  if n <= 0 then -- EIO: nobody has the other end open any more
    self.eof = true
    return false
  end
  local text = ffi.string(buffer, n)
  self.bytes[#self.bytes + 1] = text
  self.display:feed(text)
  return true
end

function Terminal:screen()
  self:pump(0)
  return text_of(self.display.lines)
end

function Terminal:text()
  self:pump(0)
  local past = text_of(self.display.past)
  return (#self.display.past > 0 and past .. "\n" or "") .. text_of(self.display.lines)
end

function Terminal:raw()
  self:pump(0)
  return table.concat(self.bytes)
end

--- Sends keys as they come from a keyboard: "\r" is Enter, "\3" is Ctrl-C, "\27[A" is the arrow up.
function Terminal:type(keys)
  while #keys > 0 do
    local n = tonumber(ffi.C.write(self.fd, keys, #keys))
    assert(n > 0, "the terminal takes no keys")
    keys = keys:sub(n + 1)
  end
end

--- Waits until the text (with what has scrolled off) matches a pattern; returns the captures.
function Terminal:expect(pattern, seconds)
  local left = (seconds or 20) * 100
  repeat
    local found = { self:text():match(pattern) }
    if found[1] then
      return unpack(found)
    end
    left = left - 1
  until self:pump(10) == false or left <= 0
  local found = { self:text():match(pattern) }
  if found[1] then
    return unpack(found)
  end
  error(("no '%s' in:\n%s"):format(pattern, self:text()), 2)
end

function Terminal:signal(name)
  ffi.C.kill(self.pid, assert(SIGNALS[name]))
end

--- The exit code (or 128 + the signal) once it has ended; nil while it runs.
function Terminal:ended()
  if not self.code then
    local status = ffi.new("int[1]")
    if ffi.C.waitpid(self.pid, status, WNOHANG) == self.pid then
      local s = status[0]
      self.code = s % 128 == 0 and math.floor(s / 256) or 128 + s % 128
    end
  end
  return self.code
end

function Terminal:wait(timeout)
  local left = (timeout or 60) * 100
  while not self:ended() do
    if self:pump(10) == false then
      pg.sleep(0.01)
    end
    left = left - 1
    if left <= 0 then
      local text = self:text()
      self:close()
      error("the program did not end:\n" .. text, 2)
    end
  end
  repeat
    local more = self:pump(0)
  until not more
  return self.code
end

--- Ends it in any case.
function Terminal:close()
  if not self:ended() then
    self:signal("KILL")
    ffi.C.waitpid(self.pid, nil, 0)
    self.code = 137
  end
  if self.fd then
    ffi.C.close(self.fd)
    self.fd = nil
  end
end

function terminal.run(args, opts)
  local t = terminal.open(args, opts)
  local code = t:wait(opts and opts.timeout or 60)
  local r = { code = code, screen = t:text(), raw = t:raw() }
  t:close()
  return r
end

return terminal
