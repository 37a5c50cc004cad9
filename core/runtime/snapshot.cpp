#include "core/runtime/snapshot.hpp"

#include <algorithm>

#include "core/checkpoint/names.hpp"
#include "core/config/render.hpp"

namespace nemo::runtime {
namespace {

struct Group {
  Role role;
  const char* name;
};
constexpr Group kGroups[] = {{Role::kParameter, checkpoint::kParameters},
                             {Role::kMaster, checkpoint::kMaster},
                             {Role::kExpAvg, checkpoint::kExpAvg},
                             {Role::kExpAvgSq, checkpoint::kExpAvgSq}};

std::vector<int64_t> shape_of(const graph::Parameter& p) {
  std::vector<int64_t> shape;
  for (const graph::Dim& d : p.dims) shape.push_back(d.size);
  return shape;
}

bool has_state(const graph::Parameter& p, Role role) { return role == Role::kParameter || p.trainable; }

// Calls body(group, parameter index) for every tensor that the state keeps.
template <class Body>
void for_each_tensor(const State& state, Body&& body) {
  for (const Group& group : kGroups)
    for (size_t p = 0; p < state.parameters().size() && state.keeps(group.role); ++p)
      if (has_state(state.parameters()[p], group.role)) body(group, p);
}

constexpr const char* kKept = "kept";

// Calls body(name, entry) for the kept state that checkpoints have.
template <class Body>
void for_each_kept(const KeptState& kept, Body&& body) {
  if (kept.layout == nullptr) return;
  for (const auto& [name, entry] : kept.layout->entries)
    if (!name.starts_with("cache.")) body(name, entry);
}

int64_t elements_of(const passes::StateLayout::Entry& entry) { return entry.bytes / size_of(entry.dtype); }

void write_kept(checkpoint::Writer& writer, const KeptState& kept, Device& device) {
  std::vector<std::byte> host;
  for_each_kept(kept, [&](const std::string& name, const passes::StateLayout::Entry& entry) {
    host.resize(static_cast<size_t>(entry.bytes));
    device.copy_out(host.data(), kept.data + entry.offset, entry.bytes);
    writer.write(kKept, {name, static_cast<nemo_dtype>(entry.dtype), {elements_of(entry)}, host.data()});
  });
}

void read_kept(const checkpoint::Reader& reader, const KeptState& kept, Device& device) {
  const std::vector<std::string> names = reader.names(kKept);
  std::vector<std::byte> host;
  for_each_kept(kept, [&](const std::string& name, const passes::StateLayout::Entry& entry) {
    if (!std::binary_search(names.begin(), names.end(), name)) return;
    host.resize(static_cast<size_t>(entry.bytes));
    reader.read(kKept, {name, static_cast<nemo_dtype>(entry.dtype), {elements_of(entry)}, host.data()});
    device.copy_in(kept.data + entry.offset, host.data(), entry.bytes);
  });
}

void write_loss_scale(checkpoint::Writer& writer, const LossScaler::State& s) {
  writer.attribute("loss_scale", s.scale);
  writer.attribute("loss_scale_finite_steps", s.finite_steps);
  writer.attribute("loss_scale_overflows_left", s.overflows_left);
  writer.attribute("skipped_steps", s.skipped_steps);
}

std::optional<LossScaler::State> read_loss_scale(const checkpoint::Reader& reader) {
  if (!reader.has_attribute("loss_scale")) return std::nullopt;
  return LossScaler::State{reader.attribute_double("loss_scale"), reader.attribute_int("loss_scale_finite_steps"),
                           reader.attribute_int("loss_scale_overflows_left"), reader.attribute_int("skipped_steps")};
}

// `given` itself; where it is damaged, the error offers the newest good checkpoint beside it.
std::filesystem::path undamaged(const std::filesystem::path& given) {
  try {
    checkpoint::verify(given, checkpoint::Verify::kChecksums);
    return given;
  } catch (const Error& e) {
    if (e.code() != Code::kDataLoss) throw;
    const auto good = checkpoint::Store(std::filesystem::canonical(given).parent_path()).survey().good;
    if (!good) throw;
    throw Error(Code::kDataLoss, std::string(e.what()) + "\nthe last good checkpoint beside it is " + good->path.string());
  }
}

}  // namespace

void save(const std::filesystem::path& final_dir, State& state, const Progress& progress, const Setup& setup,
          const text::Tokenizer* tokenizer, Device& device, const KeptState& kept) {
  uint64_t bytes = kept.layout == nullptr ? 0 : static_cast<uint64_t>(kept.layout->bytes);
  for_each_tensor(state, [&](const Group& g, size_t p) { bytes += static_cast<uint64_t>(state.bytes(g.role, p)); });
  checkpoint::Writer writer(final_dir, bytes);
  std::vector<std::byte> host;
  for_each_tensor(state, [&](const Group& g, size_t p) {
    host.resize(static_cast<size_t>(state.bytes(g.role, p)));
    device.copy_out(host.data(), state.address(g.role, p), static_cast<int64_t>(host.size()));
    writer.write(g.name,
                 {state.parameters()[p].name, static_cast<nemo_dtype>(state.dtype(g.role)), shape_of(state.parameters()[p]), host.data()});
  });
  write_kept(writer, kept, device);
  writer.attribute("step", progress.step);
  writer.attribute("consumed_samples", progress.consumed_samples);
  writer.attribute("seed", progress.seed);
  if (progress.loss_scale) write_loss_scale(writer, *progress.loss_scale);
  writer.add_text_file(checkpoint::kRecipeFile, config::to_toml(setup.configuration));
  if (tokenizer != nullptr)
    for (const text::TokenizerFile& file : tokenizer->files()) writer.add_text_file("tokenizer/" + file.name, file.bytes);
  checkpoint::Facts facts{progress.step, progress.metrics, {}};
  for (const plugin::Component* c : setup.components())
    facts.plugins.push_back({std::string(plugin::kind_name(c->kind)), c->id, c->version});
  writer.commit(facts);
}

Progress restore(const checkpoint::Reader& reader, State& state, Device& device, Restore what, const KeptState& kept) {
  std::vector<std::string> names;
  for (const graph::Parameter& p : state.parameters()) names.push_back(p.name);
  const std::string mismatch = checkpoint::name_mismatch(names, reader.names(checkpoint::kParameters), reader.directory().string());
  if (!mismatch.empty()) throw Error(Code::kConfig, mismatch);
  std::vector<std::byte> host;
  for_each_tensor(state, [&](const Group& g, size_t p) {
    if (what == Restore::kParameters && g.role != Role::kParameter) return;
    host.resize(static_cast<size_t>(state.bytes(g.role, p)));
    reader.read(g.name,
                {state.parameters()[p].name, static_cast<nemo_dtype>(state.dtype(g.role)), shape_of(state.parameters()[p]), host.data()});
    device.copy_in(state.address(g.role, p), host.data(), static_cast<int64_t>(host.size()));
  });
  if (what == Restore::kEverything) read_kept(reader, kept, device);
  return {reader.attribute_int("step"), reader.attribute_int("consumed_samples"), reader.attribute_int("seed"), reader.facts().metrics,
          read_loss_scale(reader)};
}

std::filesystem::path find_checkpoint(const std::filesystem::path& given) {
  if (std::filesystem::exists(given / checkpoint::kManifestFile)) return undamaged(given);
  for (const std::filesystem::path& folder : {given / "checkpoints", given}) {
    const auto entry = checkpoint::Store(folder).latest_good();
    if (entry) return entry->path;
  }
  throw Error(Code::kNotFound, "no checkpoint in '" + given.string() + "': expected a checkpoint folder (with " +
                                   checkpoint::kManifestFile + ") or a run's folder (with checkpoints/)");
}

}  // namespace nemo::runtime
