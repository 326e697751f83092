--- The JSON test suite's files, unpacked once for each process: name -> bytes.
local suite = {}

local ARCHIVE = "../shared/data/json/JSONTestSuite-part.tar.xz"

local function read(path)
  local file = assert(io.open(path, "rb"))
  local bytes = file:read("*a")
  file:close()
  return bytes
end

local function lines(command)
  local found = {}
  local pipe = assert(io.popen(command))
  for line in pipe:lines() do
    found[#found + 1] = line
  end
  pipe:close()
  return found
end

--- folder: "test_parsing" or "test_transform". A list of { name =, text = }, by name.
function suite.files(folder)
  local dir = lines("mktemp -d /tmp/mwjson-XXXXXX")[1]
  local files = {}
  assert(os.execute(("tar xJf %s -C %s"):format(ARCHIVE, dir)) == 0, "cannot unpack " .. ARCHIVE)
  for _, path in ipairs(lines(("ls %s/%s/*.json"):format(dir, folder))) do
    files[#files + 1] = { name = path:match("([^/]+)%.json$"), text = read(path) }
  end
  os.execute("rm -rf " .. dir)
  return files
end

return suite
