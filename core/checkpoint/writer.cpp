#include "core/checkpoint/writer.hpp"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <set>
#include <system_error>

#include "core/base/error.hpp"
#include "core/checkpoint/leftovers.hpp"
#include "core/checkpoint/parts.hpp"
#include "core/checkpoint/tensor_file.hpp"

namespace nemo::checkpoint {
namespace fs = std::filesystem;
namespace {

void refuse(const std::string& message) { throw Error(Code::kInvalidArgument, message); }

void check_tensor(const std::string& group, const TensorView& t, bool has_data) {
  if (group.empty() || t.name.empty() || t.name == "." || t.name.find('/') != std::string::npos)
    refuse("checkpoint: '" + group + "/" + t.name + "' is no dataset name: a name is not empty and has no slash");
  if (std::any_of(t.shape.begin(), t.shape.end(), [](int64_t size) { return size < 0; }))
    refuse("checkpoint: " + group + "/" + t.name + " has a negative size: " + describe(t.dtype, t.shape));
  if (!has_data && element_count(t.shape) * element_bytes(t.dtype) != 0) refuse("checkpoint: " + group + "/" + t.name + " has no data");
}

}  // namespace

struct Writer::State {
  fs::path final_dir, partial;
  uint64_t expected = 0;
  Descriptor lock;  // of the partial folder
  TensorFile tensors, part;
  bool has_part = false;
  std::set<std::string> names;
  std::vector<PartTensor> parts;
  Manifest manifest;
  Team team;
  bool open = false;

  [[nodiscard]] bool is_chief() const { return team.rank == 0; }
  [[nodiscard]] uint64_t written() const { return tensors.written() + part.written(); }
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
  const uint64_t needed = std::max(s.expected, s.written() + bytes_more);
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

Writer::Writer(const fs::path& final_dir, uint64_t expected_bytes, Team team) : state_(std::make_unique<State>()) {
  State& state = *state_;
  state.team = std::move(team);
  state.final_dir = fs::absolute(final_dir).lexically_normal();
  if (!state.final_dir.has_filename()) state.final_dir = state.final_dir.parent_path();
  state.partial = partial_path(state.final_dir);
  state.expected = expected_bytes;
  state.open = true;
  if (state.is_chief()) make_folder(expected_bytes);
  if (state.team.size > 1) state.partial = state.team.share(state.partial.string());
}

void Writer::make_folder(uint64_t expected_bytes) {
  guarded("the folder", expected_bytes, [](State& s) {
    fs::create_directories(s.final_dir.parent_path());
    remove_leftovers(s.final_dir.parent_path());
    if (s.expected > free_bytes(s.final_dir.parent_path())) throw std::system_error(ENOSPC, std::generic_category(), "look for space");
    make_partial(s);
    if (s.team.size > 1) fs::create_directory(s.partial / kPartsFolder);
    s.tensors.create(s.partial / kTensorFile);
  });
}

Writer::~Writer() {
  if (state_->open) abandon();
}

const fs::path& Writer::final_dir() const { return state_->final_dir; }

void Writer::write(const std::string& group, const TensorView& tensor) {
  check_tensor(group, tensor, tensor.data != nullptr);
  const uint64_t bytes = element_count(tensor.shape) * element_bytes(tensor.dtype);
  const std::string path = group + "/" + tensor.name;
  guarded(path, bytes, [&](State& s) {
    if (!s.names.insert(path).second) refuse("checkpoint: " + path + " is written twice");
    if (s.is_chief()) s.tensors.write(path, tensor);
  });
}

void Writer::write(const std::string& group, const TensorView& tensor, const Produce& produce) {
  check_tensor(group, tensor, true);
  const std::string path = group + "/" + tensor.name;
  guarded(path, element_count(tensor.shape) * element_bytes(tensor.dtype), [&](State& s) {
    if (!s.names.insert(path).second) refuse("checkpoint: " + path + " is written twice");
    if (s.is_chief()) s.tensors.write(path, tensor, produce);
  });
}

void Writer::write_part(const std::string& group, const TensorView& whole, const std::vector<Box>& boxes) {
  int64_t elements = 0;
  for (const Box& box : boxes) elements += box.elements();
  if (elements == 0) return;
  check_tensor(group, whole, whole.data != nullptr);
  const std::string path = group + "/" + whole.name;
  guarded(path, static_cast<uint64_t>(elements) * element_bytes(whole.dtype), [&](State& s) {
    if (!s.names.insert(path).second) refuse("checkpoint: " + path + " is written twice by one rank");
    if (!s.has_part) s.part.create(s.partial / part_file(s.team.rank));
    s.has_part = true;
    s.part.write(path, {whole.name, whole.dtype, {elements}, whole.data});
    s.parts.push_back({path, whole.dtype, whole.shape, elements, boxes});
  });
}

void Writer::attribute(const std::string& name, const Attribute& value) {
  guarded("attribute " + name, 0, [&](State& s) {
    if (name.empty() || !s.names.insert("@" + name).second) refuse("checkpoint: attribute '" + name + "' is empty or written twice");
    if (s.is_chief()) s.tensors.attribute(name, value);
  });
}

void Writer::add_text_file(const std::string& name, const std::string& content) {
  guarded(name, content.size(), [&](State& s) {
    if (!is_inside(name) || name == kManifestFile || name == kTensorFile) refuse("checkpoint: '" + name + "' is no name for an added file");
    if (s.is_chief()) s.manifest.files[name] = write_file(s.partial / name, content);
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
  if (state_->team.size > 1) commit_parts();
  if (!state_->is_chief()) {
    state_->team.meet();
    state_->open = false;
    return;
  }
  guarded("commit", 0, [&](State& s) {
    s.manifest.files[kTensorFile] = s.tensors.finish();
    s.manifest.facts = facts;
    write_file(s.partial / kManifestFile, to_json(s.manifest));
    for (const fs::directory_entry& entry : fs::recursive_directory_iterator(s.partial))
      if (entry.is_directory()) sync_directory(entry.path());
    sync_directory(s.partial);
    publish_directory(s.partial, s.final_dir);
    s.lock.close();
    s.open = false;
  });
  if (state_->team.size > 1) state_->team.meet();
}

// Every rank closes its file and says beside it what is in it; the first one maps all of it into checkpoint.h5.
void Writer::commit_parts() {
  guarded("commit", 0, [&](State& s) {
    PartList mine{{}, std::move(s.parts)};
    if (s.has_part) mine.sum = s.part.finish();
    write_file(s.partial / part_list(s.team.rank), to_json(mine));
  });
  state_->team.meet();
  if (!state_->is_chief()) return;
  guarded("commit", 0, [&](State& s) {
    std::map<std::string, VirtualTensor> tensors;
    for (int64_t rank = 0; rank < s.team.size; ++rank) {
      const PartList list = parse_part_list(read_file(s.partial / part_list(rank)));
      fs::remove(s.partial / part_list(rank));
      if (list.tensors.empty()) continue;
      s.manifest.files[part_file(rank)] = list.sum;
      add_sources(tensors, list, part_file(rank));
    }
    for (const auto& [path, tensor] : tensors) {
      check_cover(path, tensor);
      s.tensors.write_virtual(path, tensor);
    }
  });
}

void Writer::abandon() noexcept {
  State& s = *state_;
  s.open = false;
  if (s.is_chief()) s.tensors.abandon();
  if (s.has_part) s.part.abandon();
  std::error_code ignored;
  if (s.lock.is_open()) fs::remove_all(s.partial, ignored);
  s.lock.close();
}

}  // namespace nemo::checkpoint
