#include "core/checkpoint/writer.hpp"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <set>
#include <system_error>

#include "core/base/error.hpp"
#include "core/checkpoint/hdf5.hpp"
#include "core/checkpoint/leftovers.hpp"

namespace nemo::checkpoint {
namespace fs = std::filesystem;
namespace {

constexpr hsize_t kAlignFrom = 64 << 10;
constexpr hsize_t kAlignment = 4096;
constexpr uint64_t kMetadataSlack = 1 << 20;

struct Extent {
  uint64_t offset;
  Sum sum;
};

Handle create_file(const fs::path& path) {
  const Handle access = file_access();
  checked(H5Pset_libver_bounds(access, H5F_LIBVER_V110, H5F_LIBVER_V110), "set up HDF5");
  checked(H5Pset_alignment(access, kAlignFrom, kAlignment), "set up HDF5");
  const Handle creation(H5Pcreate(H5P_FILE_CREATE), H5Pclose, "set up HDF5");
  checked(H5Pset_obj_track_times(creation, false), "set up HDF5");
  return {H5Fcreate(path.c_str(), H5F_ACC_TRUNC, creation, access), H5Fclose, "create " + path.string()};
}

// The groups above a dataset, without the times that would make equal checkpoints differ.
void make_groups(hid_t file, const std::string& path) {
  const Handle creation(H5Pcreate(H5P_GROUP_CREATE), H5Pclose, "set up HDF5");
  checked(H5Pset_obj_track_times(creation, false), "set up HDF5");
  for (size_t end = path.find('/', 1); end != std::string::npos; end = path.find('/', end + 1)) {
    const std::string group = path.substr(0, end);
    if (H5Lexists(file, group.c_str(), H5P_DEFAULT) <= 0)
      const Handle made(H5Gcreate2(file, group.c_str(), H5P_DEFAULT, creation, H5P_DEFAULT), H5Gclose, "create group " + group);
  }
}

// Space is given at once and never filled: the bytes come straight from the caller's memory, past HDF5, which returns where they belong.
// HDF5 thus never holds data that it cannot write, and a full disk leaves nothing stuck in it.
uint64_t create_dataset(hid_t file, const std::string& path, const TensorView& tensor) {
  make_groups(file, path);
  const Handle creation(H5Pcreate(H5P_DATASET_CREATE), H5Pclose, "set up HDF5");
  checked(H5Pset_alloc_time(creation, H5D_ALLOC_TIME_EARLY), "set up HDF5");
  checked(H5Pset_fill_time(creation, H5D_FILL_TIME_NEVER), "set up HDF5");
  checked(H5Pset_obj_track_times(creation, 0), "set up HDF5");  // the same state gives the same bytes
  const Handle set(
      H5Dcreate2(file, path.c_str(), storage_type(tensor.dtype), dataspace_of(tensor.shape), H5P_DEFAULT, creation, H5P_DEFAULT), H5Dclose,
      "create dataset " + path);
  if (tensor.dtype == NEMO_DTYPE_BF16) set_text_attribute(set, "dtype", "bf16");
  if (element_count(tensor.shape) == 0) return 0;
  const haddr_t offset = H5Dget_offset(set);
  if (offset == HADDR_UNDEF) fault("allocate dataset " + path);
  return offset;
}

void write_attribute(hid_t file, const std::string& name, const Attribute& value) {
  if (const auto* text = std::get_if<std::string>(&value)) return set_text_attribute(file, name, *text);
  const bool whole = std::holds_alternative<int64_t>(value);
  const hid_t type = whole ? H5T_STD_I64LE : H5T_IEEE_F64LE;
  const Handle attribute(H5Acreate2(file, name.c_str(), type, dataspace_of({}), H5P_DEFAULT, H5P_DEFAULT), H5Aclose,
                         "create attribute " + name);
  const void* data = whole ? static_cast<const void*>(&std::get<int64_t>(value)) : &std::get<double>(value);
  checked(H5Awrite(attribute, type, data), "write attribute " + name);
}

// HDF5's bytes lie between the extents; they are read back, the rest was summed when it was written.
Sum sum_with_gaps(const Descriptor& file, std::vector<Extent> extents, const fs::path& path) {
  std::sort(extents.begin(), extents.end(), [](const Extent& a, const Extent& b) { return a.offset < b.offset; });
  Sum sum;
  for (const Extent& extent : extents) sum = sum.then(sum_of_range(file, sum.bytes, extent.offset, path)).then(extent.sum);
  return sum.then(sum_of_range(file, sum.bytes, fs::file_size(path), path));
}

void refuse(const std::string& message) { throw Error(Code::kInvalidArgument, message); }

void check_tensor(const std::string& group, const TensorView& t) {
  if (group.empty() || t.name.empty() || t.name == "." || t.name.find('/') != std::string::npos)
    refuse("checkpoint: '" + group + "/" + t.name + "' is no dataset name: a name is not empty and has no slash");
  if (std::any_of(t.shape.begin(), t.shape.end(), [](int64_t size) { return size < 0; }))
    refuse("checkpoint: " + group + "/" + t.name + " has a negative size: " + describe(t.dtype, t.shape));
  if (t.data == nullptr && element_count(t.shape) * element_bytes(t.dtype) != 0)
    refuse("checkpoint: " + group + "/" + t.name + " has no data");
}

// Under a file size limit HDF5 could not even close its file, so the limit is met before HDF5 hears of the tensor.
void check_size_limit(uint64_t bytes, const fs::path& path) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY || bytes + kMetadataSlack <= limit.rlim_cur) return;
  throw std::system_error(EFBIG, std::generic_category(),
                          "write " + path.string() + " (this process may write " + std::to_string(limit.rlim_cur) + " bytes a file)");
}

}  // namespace

struct Writer::State {
  fs::path final_dir, partial;
  uint64_t expected = 0, written = 0;
  Descriptor lock, bytes;  // of the partial folder; of its checkpoint.h5
  Handle file;
  std::set<std::string> names;
  std::vector<Extent> extents;
  Manifest manifest;
  bool open = false;
};

template <class Body>
void Writer::guarded(const std::string& what, uint64_t bytes_more, Body&& body) {
  State& s = *state_;
  if (!s.open) refuse("checkpoint " + s.final_dir.string() + ": the writer is closed, " + what + " cannot be written");
  std::string reason;
  try {
    return body(s);
  } catch (const Error&) {
    throw;
  } catch (const std::runtime_error& e) {  // std::system_error or Hdf5Error
    reason = e.what();
  }
  const uint64_t needed = std::max(s.expected, s.written + bytes_more);
  abandon();
  throw Error(Code::kInternal, "cannot save checkpoint " + s.final_dir.string() + " (" + what + "): " + reason + "; it needs at least " +
                                   std::to_string(needed) + " bytes, " + std::to_string(free_bytes(s.final_dir.parent_path())) +
                                   " bytes are free there; earlier checkpoints are untouched; free space or keep fewer checkpoints");
}

void Writer::make_partial(State& s) {
  const FolderLock alone(s.final_dir.parent_path());
  if (!fs::create_directory(s.partial))
    throw std::system_error(EBUSY, std::generic_category(), "another save writes " + s.partial.string());
  s.lock = Descriptor(s.partial, O_RDONLY | O_DIRECTORY);
  if (!try_lock(s.lock) && errno == EWOULDBLOCK) throw std::system_error(errno, std::generic_category(), "lock " + s.partial.string());
}

Writer::Writer(const fs::path& final_dir, uint64_t expected_bytes) : state_(std::make_unique<State>()) {
  State& state = *state_;
  state.final_dir = fs::absolute(final_dir).lexically_normal();
  if (!state.final_dir.has_filename()) state.final_dir = state.final_dir.parent_path();
  state.partial = partial_path(state.final_dir);
  state.expected = expected_bytes;
  state.open = true;
  guarded("the folder", expected_bytes, [](State& s) {
    fs::create_directories(s.final_dir.parent_path());
    remove_leftovers(s.final_dir.parent_path());
    if (s.expected > free_bytes(s.final_dir.parent_path())) throw std::system_error(ENOSPC, std::generic_category(), "look for space");
    make_partial(s);
    const Session session;
    s.file = create_file(s.partial / kTensorFile);
    s.bytes = Descriptor(s.partial / kTensorFile, O_RDWR);
  });
}

Writer::~Writer() {
  if (state_->open) abandon();
}

const fs::path& Writer::final_dir() const { return state_->final_dir; }

void Writer::write(const std::string& group, const TensorView& tensor) {
  check_tensor(group, tensor);
  const uint64_t bytes = element_count(tensor.shape) * element_bytes(tensor.dtype);
  const std::string path = group + "/" + tensor.name;
  guarded(path, bytes, [&](State& s) {
    if (!s.names.insert(path).second) refuse("checkpoint: " + path + " is written twice");
    const fs::path file = s.partial / kTensorFile;
    check_size_limit(s.written + bytes, file);
    uint64_t offset = 0;
    {
      const Session session;
      offset = create_dataset(s.file, "/" + path, tensor);
    }
    if (bytes != 0) s.extents.push_back({offset, write_at(s.bytes, offset, tensor.data, bytes, file)});
    s.written += bytes;
  });
}

void Writer::attribute(const std::string& name, const Attribute& value) {
  guarded("attribute " + name, 0, [&](State& s) {
    if (name.empty() || !s.names.insert("@" + name).second) refuse("checkpoint: attribute '" + name + "' is empty or written twice");
    const Session session;
    write_attribute(s.file, name, value);
  });
}

void Writer::add_text_file(const std::string& name, const std::string& content) {
  guarded(name, content.size(), [&](State& s) {
    if (!is_inside(name) || name == kManifestFile || name == kTensorFile) refuse("checkpoint: '" + name + "' is no name for an added file");
    s.manifest.files[name] = write_file(s.partial / name, content);
    s.written += content.size();
  });
}

void Writer::add_folder(const std::string& name, const fs::path& source) {
  if (!fs::is_directory(source)) throw Error(Code::kNotFound, "checkpoint: no folder " + source.string() + " to copy to " + name);
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(source, fs::directory_options::follow_directory_symlink)) {
    if (!entry.is_regular_file()) continue;
    std::string content;
    guarded(entry.path().string(), 0, [&](State&) { content = read_file(entry.path()); });
    add_text_file((fs::path(name) / entry.path().lexically_relative(source)).string(), content);
  }
}

void Writer::commit(const Facts& facts) {
  guarded("commit", 0, [&](State& s) {
    {
      // Flushed while the file can still be given up; after this, closing has nothing left to write.
      const Session session;
      checked(H5Fflush(s.file, H5F_SCOPE_GLOBAL), "flush checkpoint.h5");
      s.file.reset();
    }
    const fs::path file = s.partial / kTensorFile;
    s.bytes.sync(file);
    s.manifest.files[kTensorFile] = sum_with_gaps(s.bytes, std::move(s.extents), file);
    s.manifest.facts = facts;
    write_file(s.partial / kManifestFile, to_json(s.manifest));
    for (const fs::directory_entry& entry : fs::recursive_directory_iterator(s.partial))
      if (entry.is_directory()) sync_directory(entry.path());
    sync_directory(s.partial);
    publish_directory(s.partial, s.final_dir);
    s.bytes.close();
    s.lock.close();
    s.open = false;
  });
}

// The file is cut to nothing first: that gives the space back, so HDF5 can write its few cached bytes and close.
void Writer::abandon() noexcept {
  State& s = *state_;
  s.open = false;
  if (s.bytes.is_open() && ::ftruncate(s.bytes.get(), 0) != 0) errno = 0;
  {
    const Session session;
    s.file.reset();
  }
  s.bytes.close();
  std::error_code ignored;
  if (s.lock.is_open()) fs::remove_all(s.partial, ignored);
  s.lock.close();
}

}  // namespace nemo::checkpoint
