#include "core/checkpoint/tensor_file.hpp"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

namespace nemo::checkpoint {
namespace fs = std::filesystem;
namespace {

constexpr hsize_t kAlignFrom = 64 << 10;
constexpr hsize_t kAlignment = 4096;
constexpr uint64_t kMetadataSlack = 1 << 20;
constexpr uint64_t kStartAfter = 64 << 20;

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

// Under a file size limit HDF5 could not even close its file, so the limit is met before HDF5 hears of the tensor.
void check_size_limit(uint64_t bytes, const fs::path& path) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY || bytes + kMetadataSlack <= limit.rlim_cur) return;
  throw std::system_error(EFBIG, std::generic_category(),
                          "write " + path.string() + " (this process may write " + std::to_string(limit.rlim_cur) + " bytes a file)");
}

std::vector<hsize_t> sizes_of(const std::vector<int64_t>& values) { return {values.begin(), values.end()}; }

}  // namespace

void TensorFile::create(const fs::path& path) {
  const Session session;
  path_ = path;
  file_ = create_file(path);
  bytes_ = Descriptor(path, O_RDWR);
}

uint64_t TensorFile::allocate(const std::string& path, const TensorView& tensor) {
  check_size_limit(written_ + element_count(tensor.shape) * element_bytes(tensor.dtype), path_);
  const Session session;
  return create_dataset(file_, "/" + path, tensor);
}

void TensorFile::took(uint64_t offset, const Sum& sum) {
  if (sum.bytes == 0) return;
  extents_.push_back({offset, sum});
  written_ += sum.bytes;
  if (offset + sum.bytes < started_ + kStartAfter) return;
  start_writing(bytes_, started_, offset + sum.bytes);
  started_ = offset + sum.bytes;
}

void TensorFile::write(const std::string& path, const TensorView& tensor) {
  const uint64_t offset = allocate(path, tensor);
  took(offset, write_at(bytes_, offset, tensor.data, element_count(tensor.shape) * element_bytes(tensor.dtype), path_));
}

void TensorFile::write(const std::string& path, const TensorView& tensor, const Produce& produce) {
  const uint64_t offset = allocate(path, tensor);
  Sum sum;
  pour(
      element_count(tensor.shape) * element_bytes(tensor.dtype), offset,
      [&](uint64_t at, std::span<std::byte> out) {
        produce(at, out);
        sum = sum.then(sum_of_bytes(out.data(), out.size()));
      },
      [&](uint64_t at, std::span<const std::byte> block) { put_at(bytes_, offset + at, block.data(), block.size(), path_); });
  took(offset, sum);
}

void TensorFile::write_virtual(const std::string& path, const VirtualTensor& tensor) {
  const Session session;
  make_groups(file_, "/" + path);
  const Handle creation(H5Pcreate(H5P_DATASET_CREATE), H5Pclose, "set up HDF5");
  checked(H5Pset_obj_track_times(creation, 0), "set up HDF5");
  const Handle whole = dataspace_of(tensor.shape);
  for (const VirtualTensor::Source& source : tensor.sources) {
    const Handle from = dataspace_of({source.elements});
    const hsize_t first = static_cast<hsize_t>(source.box.offset), count = static_cast<hsize_t>(source.box.elements());
    checked(H5Sselect_hyperslab(from, H5S_SELECT_SET, &first, nullptr, &count, nullptr), "select elements of " + path);
    if (!tensor.shape.empty())
      checked(
          H5Sselect_hyperslab(whole, H5S_SELECT_SET, sizes_of(source.box.start).data(), nullptr, sizes_of(source.box.size).data(), nullptr),
          "select elements of " + path);
    checked(H5Pset_virtual(creation, whole, source.file.c_str(), source.dataset.c_str(), from), "map " + path);
  }
  const Handle set(
      H5Dcreate2(file_, ("/" + path).c_str(), storage_type(tensor.dtype), dataspace_of(tensor.shape), H5P_DEFAULT, creation, H5P_DEFAULT),
      H5Dclose, "create dataset " + path);
  if (tensor.dtype == NEMO_DTYPE_BF16) set_text_attribute(set, "dtype", "bf16");
}

void TensorFile::attribute(const std::string& name, const Attribute& value) {
  const Session session;
  write_attribute(file_, name, value);
}

Sum TensorFile::finish() {
  {
    // Flushed while the file can still be given up; after this, closing has nothing left to write.
    const Session session;
    checked(H5Fflush(file_, H5F_SCOPE_GLOBAL), "flush " + path_.string());
    file_.reset();
  }
  bytes_.sync(path_);
  const Sum sum = sum_with_gaps();
  bytes_.close();
  return sum;
}

// HDF5's bytes lie between the extents; they are read back, the rest was summed when it was written.
Sum TensorFile::sum_with_gaps() {
  std::sort(extents_.begin(), extents_.end(), [](const Extent& a, const Extent& b) { return a.offset < b.offset; });
  Sum sum;
  for (const Extent& extent : extents_) sum = sum.then(sum_of_range(bytes_, sum.bytes, extent.offset, path_)).then(extent.sum);
  return sum.then(sum_of_range(bytes_, sum.bytes, fs::file_size(path_), path_));
}

// The file is cut to nothing first: that gives the space back, so HDF5 can write its few cached bytes and close.
void TensorFile::abandon() noexcept {
  if (bytes_.is_open() && ::ftruncate(bytes_.get(), 0) != 0) errno = 0;
  {
    const Session session;
    file_.reset();
  }
  bytes_.close();
}

}  // namespace nemo::checkpoint
