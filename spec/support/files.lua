--- Temporary folders for specs. after_each(files.clean) removes what the spec made.
local files = {}
local made = {}

local function quote(text)
  return "'" .. tostring(text):gsub("'", [['\'']]) .. "'"
end

files.quote = quote

local function command(text)
  local pipe = assert(io.popen(text))
  local out = pipe:read("*a")
  pipe:close()
  return (out:gsub("\n$", ""))
end

--- A fresh folder that every user may enter.
function files.dir()
  local dir = command("mktemp -d /tmp/mwspec-XXXXXX")
  os.execute("chmod 755 " .. quote(dir))
  made[#made + 1] = dir
  return dir
end

function files.clean()
  for _, dir in ipairs(made) do
    os.execute("rm -rf " .. quote(dir))
  end
  made = {}
end

--- Writes a file (with the folders above it) and returns its path.
function files.write(path, text)
  os.execute("mkdir -p " .. quote(path:match("^(.*)/") or "."))
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
  return path
end

--- The whole text, or nil where there is no such file.
function files.read(path)
  local file = io.open(path, "rb")
  if not file then
    return nil
  end
  local text = file:read("*a")
  file:close()
  return text
end

function files.exists(path)
  local file = io.open(path, "rb")
  if file then
    file:close()
  end
  return file ~= nil
end

--- Packs a file; returns the packed one's path.
function files.gzip(path)
  os.execute("gzip -n -k -f " .. quote(path))
  return path .. ".gz"
end

--- The output of a shell command, without the last newline.
files.command = command

function files.lines(text)
  local list = {}
  for line in text:gmatch("[^\n]+") do
    list[#list + 1] = line
  end
  return list
end

return files
