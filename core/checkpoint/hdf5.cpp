#include "core/checkpoint/hdf5.hpp"

#include <bit>

namespace nemo::checkpoint {
namespace {

static_assert(std::endian::native == std::endian::little, "tensors are written as they lie in memory");

std::mutex& library_mutex() {
  static std::mutex mutex;
  return mutex;
}

herr_t keep_innermost(unsigned depth, const H5E_error2_t* error, void* out) {
  if (depth == 0 && error->desc != nullptr) *static_cast<std::string*>(out) = error->desc;
  return 0;
}

// IEEE binary16, which HDF5 1.10 has no predefined name for.
Handle half_type() {
  Handle type(H5Tcopy(H5T_IEEE_F32LE), H5Tclose, "make the f16 type");
  checked(H5Tset_fields(type, 15, 10, 5, 0, 10), "make the f16 type");
  checked(H5Tset_size(type, 2), "make the f16 type");
  checked(H5Tset_ebias(type, 15), "make the f16 type");
  return type;
}

}  // namespace

Session::Session() : lock_(library_mutex()) {
  H5Eget_auto2(H5E_DEFAULT, &print_, &print_data_);
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
}

Session::~Session() { H5Eset_auto2(H5E_DEFAULT, print_, print_data_); }

Handle::Handle(hid_t id, Close close, const std::string& doing) : id_(id), close_(close) {
  if (id_ < 0) fault(doing);
}

Handle& Handle::operator=(Handle&& other) noexcept {
  std::swap(id_, other.id_);
  std::swap(close_, other.close_);
  return *this;
}

void Handle::reset() {
  if (id_ >= 0) close_(id_);
  id_ = -1;
}

void fault(const std::string& doing) {
  std::string reason;
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, keep_innermost, &reason);
  throw Hdf5Error("cannot " + doing + (reason.empty() ? "" : ": " + reason));
}

Handle file_access() {
  Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose, "set up HDF5");
  checked(H5Pset_file_locking(access, false, true), "set up HDF5");
  return access;
}

Handle storage_type(nemo_dtype dtype) {
  const auto copy = [](hid_t type) { return Handle(H5Tcopy(type), H5Tclose, "copy an element type"); };
  switch (dtype) {
    case NEMO_DTYPE_F32:
      return copy(H5T_IEEE_F32LE);
    case NEMO_DTYPE_F64:
      return copy(H5T_IEEE_F64LE);
    case NEMO_DTYPE_BF16:
      return copy(H5T_STD_U16LE);
    case NEMO_DTYPE_F16:
      return half_type();
    case NEMO_DTYPE_I32:
      return copy(H5T_STD_I32LE);
    case NEMO_DTYPE_I64:
      return copy(H5T_STD_I64LE);
    case NEMO_DTYPE_U8:
      return copy(H5T_STD_U8LE);
    default:
      static_cast<void>(element_bytes(dtype));
      return {};
  }
}

nemo_dtype dtype_of(hid_t dataset) {
  const Handle type(H5Dget_type(dataset), H5Tclose, "read an element type");
  for (nemo_dtype dtype = NEMO_DTYPE_F32; dtype <= NEMO_DTYPE_U8; ++dtype) {
    if (H5Tequal(type, storage_type(dtype)) <= 0) continue;
    if (dtype != NEMO_DTYPE_BF16) return dtype;
    return H5Aexists(dataset, "dtype") > 0 && text_attribute(dataset, "dtype") == "bf16" ? dtype : 0;
  }
  return 0;
}

Handle dataspace_of(const std::vector<int64_t>& shape) {
  if (shape.empty()) return {H5Screate(H5S_SCALAR), H5Sclose, "make a scalar dataspace"};
  const std::vector<hsize_t> sizes(shape.begin(), shape.end());
  return {H5Screate_simple(static_cast<int>(sizes.size()), sizes.data(), nullptr), H5Sclose, "make a dataspace"};
}

bool exists(hid_t file, const std::string& path) {
  for (size_t end = path.find('/', 1); end != std::string::npos; end = path.find('/', end + 1))
    if (H5Lexists(file, path.substr(0, end).c_str(), H5P_DEFAULT) <= 0) return false;
  return H5Lexists(file, path.c_str(), H5P_DEFAULT) > 0;
}

Handle text_type() {
  Handle type(H5Tcopy(H5T_C_S1), H5Tclose, "make the text type");
  checked(H5Tset_size(type, H5T_VARIABLE), "make the text type");
  checked(H5Tset_cset(type, H5T_CSET_UTF8), "make the text type");
  return type;
}

void set_text_attribute(hid_t object, const std::string& name, const std::string& value) {
  const Handle type = text_type();
  const Handle attribute(H5Acreate2(object, name.c_str(), type, dataspace_of({}), H5P_DEFAULT, H5P_DEFAULT), H5Aclose,
                         "create attribute " + name);
  const char* text = value.c_str();
  checked(H5Awrite(attribute, type, &text), "write attribute " + name);
}

std::string text_attribute(hid_t object, const std::string& name) {
  const Handle attribute(H5Aopen(object, name.c_str(), H5P_DEFAULT), H5Aclose, "open attribute " + name);
  const Handle type = text_type();
  char* text = nullptr;
  checked(H5Aread(attribute, type, &text), "read attribute " + name);
  std::string value = text == nullptr ? "" : text;
  H5free_memory(text);
  return value;
}

}  // namespace nemo::checkpoint
