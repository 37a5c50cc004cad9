#include "core/checkpoint/reader.hpp"

#include <system_error>

#include "core/base/error.hpp"
#include "core/base/f16.hpp"
#include "core/base/nearest.hpp"
#include "core/checkpoint/bf16.hpp"
#include "core/checkpoint/hdf5.hpp"

namespace nemo::checkpoint {
namespace fs = std::filesystem;
namespace {

void check_file(const fs::path& path, const Sum& stated, Verify depth) {
  const auto damaged = [&](const std::string& why) { throw Error(Code::kDataLoss, path.string() + " is damaged: " + why); };
  if (!fs::exists(path)) damaged("it is missing");
  const uint64_t bytes = fs::file_size(path);
  if (bytes != stated.bytes)
    damaged("it has " + std::to_string(bytes) + " bytes, the manifest says " + std::to_string(stated.bytes) +
            (bytes < stated.bytes ? " (truncated)" : ""));
  if (depth == Verify::kChecksums && sum_of_file(path) != stated) damaged("its checksum does not match the manifest (altered content)");
}

Handle open_file(const fs::path& path) {
  const Handle access = file_access();
  return {H5Fopen(path.c_str(), H5F_ACC_RDONLY, access), H5Fclose, "open " + path.string()};
}

std::vector<int64_t> shape_of(hid_t set) {
  const Handle space(H5Dget_space(set), H5Sclose, "read a shape");
  std::vector<hsize_t> sizes(static_cast<size_t>(checked(H5Sget_simple_extent_ndims(space), "read a shape")));
  if (!sizes.empty()) checked(H5Sget_simple_extent_dims(space, sizes.data(), nullptr), "read a shape");
  return {sizes.begin(), sizes.end()};
}

// The elements of a dataset that are wanted; H5S_ALL: all.
struct Selection {
  hid_t memory = H5S_ALL, file = H5S_ALL;
};

void read_as(hid_t set, nemo_dtype dtype, void* into, const std::string& path, const Selection& selection) {
  checked(H5Dread(set, storage_type(dtype), selection.memory, selection.file, H5P_DEFAULT, into), "read " + path);
}

// By way of f32; bf16 is an integer to HDF5, f16 a float that it widens.
void read_converted(hid_t set, nemo_dtype stored, const TensorSlot& slot, const std::string& path, const Selection& selection) {
  const uint64_t count = element_count(slot.shape);
  std::vector<float> values(count);
  if (stored == NEMO_DTYPE_BF16) {
    std::vector<uint16_t> bits(count);
    read_as(set, NEMO_DTYPE_BF16, bits.data(), path, selection);
    for (uint64_t i = 0; i < count; ++i) values[i] = float_of_bf16(bits[i]);
  } else {
    read_as(set, NEMO_DTYPE_F32, values.data(), path, selection);
  }
  for (uint64_t i = 0; i < count; ++i) {
    if (slot.dtype == NEMO_DTYPE_F64)
      static_cast<double*>(slot.data)[i] = values[i];
    else if (slot.dtype == NEMO_DTYPE_F32)
      static_cast<float*>(slot.data)[i] = values[i];
    else
      static_cast<uint16_t*>(slot.data)[i] = slot.dtype == NEMO_DTYPE_BF16 ? bf16_of_float(values[i]) : f16_of_float(values[i]);
  }
}

bool converts(nemo_dtype from, nemo_dtype to) {
  const auto is_float = [](nemo_dtype d) { return d == NEMO_DTYPE_F32 || d == NEMO_DTYPE_BF16 || d == NEMO_DTYPE_F16; };
  return from != to && is_float(from) && (is_float(to) || to == NEMO_DTYPE_F64);
}

herr_t add_dataset_name(hid_t group, const char* name, const H5L_info_t*, void* out) {
  const hid_t object = H5Oopen(group, name, H5P_DEFAULT);
  if (object < 0) return -1;
  if (H5Iget_type(object) == H5I_DATASET) static_cast<std::vector<std::string>*>(out)->emplace_back(name);
  return H5Oclose(object);
}

}  // namespace

struct Reader::State {
  fs::path directory;
  Manifest manifest;
  Handle file;

  [[nodiscard]] std::string place() const { return (directory / kTensorFile).string(); }
  [[nodiscard]] std::vector<std::string> names(const std::string& group) const {
    std::vector<std::string> found;
    if (!exists(file, "/" + group)) return found;
    const Handle opened(H5Gopen2(file, ("/" + group).c_str(), H5P_DEFAULT), H5Gclose, "open group " + group);
    checked(H5Literate(opened, H5_INDEX_NAME, H5_ITER_INC, nullptr, add_dataset_name, &found), "list group " + group);
    return found;
  }
  [[nodiscard]] Handle open(const std::string& group, const std::string& name) const {
    const std::string path = "/" + group + "/" + name;
    if (exists(file, path)) return {H5Dopen2(file, path.c_str(), H5P_DEFAULT), H5Dclose, "open " + path};
    const std::string nearest = nearest_name(name, names(group));
    throw Error(Code::kConfig, place() + " has no tensor " + path.substr(1) + (nearest.empty() ? "" : " (the nearest is " + nearest + ")"));
  }
};

Manifest verify(const fs::path& directory, Verify depth) {
  Manifest manifest = read_manifest(directory);
  for (const auto& [name, sum] : manifest.files) {
    try {
      check_file(directory / name, sum, depth);
    } catch (const std::system_error& e) {
      throw Error(Code::kDataLoss, "cannot read " + (directory / name).string() + ": " + e.what());
    }
  }
  if (!manifest.files.contains(kTensorFile))
    throw Error(Code::kDataLoss, (directory / kManifestFile).string() + " is damaged: it lists no " + kTensorFile);
  return manifest;
}

template <class Body>
auto Reader::guarded(Body&& body) const {
  const Session session;
  try {
    return body(*state_);
  } catch (const Hdf5Error& e) {
    throw Error(Code::kDataLoss, state_->place() + " is damaged: " + e.what());
  }
}

Reader::Reader(fs::path directory, Verify depth) : state_(std::make_unique<State>()) {
  state_->directory = std::move(directory);
  state_->manifest = verify(state_->directory, depth);
  guarded([](State& s) { s.file = open_file(s.directory / kTensorFile); });
}

Reader::~Reader() {
  const Session session;
  state_->file.reset();
}

const fs::path& Reader::directory() const { return state_->directory; }
const Facts& Reader::facts() const { return state_->manifest.facts; }

std::vector<std::string> Reader::names(const std::string& group) const {
  return guarded([&](const State& s) { return s.names(group); });
}

TensorInfo Reader::info(const std::string& group, const std::string& name) const {
  return guarded([&](const State& s) {
    const Handle set = s.open(group, name);
    return TensorInfo{dtype_of(set), shape_of(set)};
  });
}

std::optional<Reader::Place> Reader::place(const std::string& group, const std::string& name) const {
  return guarded([&](const State& s) -> std::optional<Place> {
    const Handle set = s.open(group, name);
    const Handle creation(H5Dget_create_plist(set), H5Pclose, "read a layout");
    const uint64_t bytes = element_count(shape_of(set)) * element_bytes(dtype_of(set));
    if (H5Pget_layout(creation) != H5D_CONTIGUOUS || H5Pget_external_count(creation) > 0 || bytes == 0) return std::nullopt;
    const haddr_t begin = H5Dget_offset(set);
    if (begin == HADDR_UNDEF || H5Dget_storage_size(set) != bytes) return std::nullopt;
    return Place{s.place(), begin, bytes};
  });
}

void Reader::read(const std::string& group, const TensorSlot& slot) const { read_selected(group, slot, nullptr); }

void Reader::read_part(const std::string& group, const TensorSlot& whole, const std::vector<Box>& boxes) const {
  for (const Box& box : boxes) read_selected(group, whole, &box);
}

void Reader::read_selected(const std::string& group, const TensorSlot& slot, const Box* box) const {
  guarded([&](const State& s) {
    const Handle set = s.open(group, slot.name);
    const std::string path = group + "/" + slot.name;
    const nemo_dtype stored = dtype_of(set);
    const std::vector<int64_t> shape = shape_of(set);
    if (shape != slot.shape || (stored != slot.dtype && !converts(stored, slot.dtype)))
      throw Error(Code::kConfig, s.place() + ": " + path + " is " + describe(stored, shape) + ", but the program's is " +
                                     describe(slot.dtype, slot.shape) + "; the model settings differ from those of the checkpoint's " +
                                     kRecipeFile);
    if (element_count(shape) == 0) return;
    TensorSlot into = slot;
    Handle memory, file;
    Selection selection;
    if (box != nullptr && !shape.empty()) {
      into.shape = {box->elements()};
      into.data = static_cast<char*>(slot.data) + static_cast<size_t>(box->offset) * element_bytes(slot.dtype);
      const std::vector<hsize_t> start(box->start.begin(), box->start.end()), size(box->size.begin(), box->size.end());
      memory = dataspace_of(into.shape);
      file = dataspace_of(shape);
      checked(H5Sselect_hyperslab(file, H5S_SELECT_SET, start.data(), nullptr, size.data(), nullptr), "select elements of " + path);
      selection = {memory, file};
    }
    if (stored == slot.dtype)
      read_as(set, stored, into.data, path, selection);
    else
      read_converted(set, stored, into, path, selection);
  });
}

bool Reader::has_attribute(const std::string& name) const {
  return guarded([&](const State& s) { return H5Aexists(s.file, name.c_str()) > 0; });
}

template <class Value>
Value Reader::number_attribute(const std::string& name, int64_t type) const {
  return guarded([&](const State& s) {
    const Handle attribute(H5Aopen(s.file, name.c_str(), H5P_DEFAULT), H5Aclose, "find attribute " + name);
    Value value{};
    checked(H5Aread(attribute, type, &value), "read attribute " + name);
    return value;
  });
}

int64_t Reader::attribute_int(const std::string& name) const { return number_attribute<int64_t>(name, H5T_NATIVE_INT64); }
double Reader::attribute_double(const std::string& name) const { return number_attribute<double>(name, H5T_NATIVE_DOUBLE); }

std::string Reader::attribute_string(const std::string& name) const {
  return guarded([&](const State& s) { return text_attribute(s.file, name); });
}

std::string Reader::recipe() const { return text_file(kRecipeFile); }

std::string Reader::text_file(const std::string& name) const {
  if (!state_->manifest.files.contains(name))
    throw Error(Code::kNotFound, "checkpoint " + state_->directory.string() + " has no file " + name);
  try {
    return read_file(state_->directory / name);
  } catch (const std::system_error& e) {
    throw Error(Code::kDataLoss, "cannot read " + (state_->directory / name).string() + ": " + e.what());
  }
}

}  // namespace nemo::checkpoint
